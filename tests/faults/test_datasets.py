"""Damaged captions files, lists and dataset folders: an error of one short line, or a dataset."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrnn.data.caption_reader import read_hypotheses, read_references
from mrnn.data.dataset import Dataset, write_dataset
from mrnn.data.readers.coco import read_coco
from mrnn.data.readers.flickr import read_flickr
from mrnn.data.readers.folder import read_folder
from mrnn.data.readers.iapr import read_iapr
from mrnn.data.readers.karpathy import read_karpathy
from mrnn.data.readers.table import read_table
from mrnn.data.splits import divide
from mrnn.data.text import read_text_captions
from mrnn.errors import LONGEST, MRNNError
from tests.data.readers.test_rows import write_table
from tests.faults.mutations import mutations

NAMES = ("a.jpg", "b.jpg", "sub/c.jpg")
ROWS = [{"image": name, "caption": f"A dog, {name}", "split": "train"} for name in NAMES]
COCO = {
    "images": [{"id": n, "file_name": name} for n, name in enumerate(NAMES)],
    "annotations": [{"image_id": n, "caption": "A dog"} for n in range(3)],
}
KARPATHY = {
    "images": [
        {"filename": name, "filepath": "x", "split": "val", "sentences": [{"raw": "A dog"}]}
        for name in NAMES
    ]
}
CONTENTS = {
    "t.csv": 'image,caption,split\na.jpg,"A ""red"" dog, fast",train\nb.jpg,A cat,val\n',
    "t.txt": "image_name| comment_number| comment\na.jpg| 0| A dog\nb.jpg| 1   A cat .\n",
    "t.tsv": 'image\tcaption\na.jpg\tA "red" dog\nb.jpg\tA cat\n',
    "t.jsonl": "\n".join(map(json.dumps, ROWS)),
    "t.json": json.dumps(ROWS),
    "c.json": json.dumps(COCO),
    "k.json": json.dumps(KARPATHY),
    "h.json": json.dumps({"1": [{"caption": "a"}], "2": "b", "3": ["c"]}),
    "f.token": "a.jpg#0\tA dog\nb.jpg#0\tA cat\n",
    "1.eng": "<DESCRIPTION>A dog; a wall;</DESCRIPTION><IMAGE>images/01/1.jpg</IMAGE>",
    "a.txt": "A dog\nA cat\n",
    "dev.list": "a.jpg\n",
    "t.parquet": b"",
}


def readers(file, folder):
    """What reads such a file."""
    table = [lambda: list(read_table([file], folder / "photos"))]
    score = [lambda: read_hypotheses(file), lambda: read_references([file])]
    text = [lambda: list(read_text_captions(file))]
    (image,) = read_table([folder / "good.jsonl"], folder / "photos")
    return {
        "t.csv": table + score + text,
        "t.txt": table + score + text,
        "t.tsv": table + score + text,
        "t.jsonl": table + score,
        "t.json": table + score,
        "t.parquet": table + score,
        "c.json": [lambda: list(read_coco([file], folder / "photos")), *score],
        "k.json": [lambda: list(read_karpathy(file, folder / "photos")), *score],
        "h.json": score,
        "f.token": [lambda: list(read_flickr(folder, folder / "photos"))],
        "1.eng": [lambda: list(read_iapr(folder, folder / "photos"))],
        "a.txt": [lambda: list(read_folder(folder, folder / "photos"))],
        "dev.list": [
            lambda: divide([image], lists=[f"dev={file}"]),
            lambda: divide([image], leave_out_files=[file]),
        ],
    }[file.name]


@pytest.fixture(params=CONTENTS)
def captions_file(request, tmp_path):
    """A good file of each kind, beside a folder of photos."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    (tmp_path / "good.jsonl").write_text(json.dumps(ROWS[0]))
    file = tmp_path / request.param
    content = CONTENTS[request.param]
    if request.param == "t.parquet":
        write_table(file, ROWS)
    else:
        file.write_text(content)
    return file


def attempt(read):
    try:
        read()
        told = ""
    except MRNNError as error:
        told = str(error)
    assert told.isprintable()
    assert len(told) <= LONGEST
    for theirs in ("Input should", "Field required", "Traceback", "validation error"):
        assert theirs not in told


def try_mutations(file, examples):
    """Mutated bytes, and cells and lines that changed places, through all readers of a file."""
    content = file.read_bytes()
    folder = file.parent
    for read in readers(file, folder):
        read()

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(mutations(file.name, content) | shuffled(content))
    def mutate(changed):
        file.write_bytes(changed)
        for read in readers(file, folder):
            attempt(read)

    mutate()


@st.composite
def shuffled(draw, content):
    """Lines, or the cells of a line, in another order."""
    chance = random.Random(draw(st.integers(0, 99)))
    lines = content.split(b"\n")
    sign = draw(st.sampled_from([b",", b"|", b"\t", b" ", b'"']))
    place = chance.randrange(len(lines))
    cells = lines[place].split(sign)
    chance.shuffle(cells)
    lines[place] = sign.join(cells)
    if draw(st.booleans()):
        chance.shuffle(lines)
    return b"\n".join(lines)


def test_a_damaged_captions_file(captions_file):
    try_mutations(captions_file, 20)


@pytest.mark.slow
def test_many_damaged_captions_files(captions_file):
    try_mutations(captions_file, 800)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dataset.json", "captions.jsonl"])
def test_a_damaged_dataset_folder(tmp_path, name):
    images = list(read_table([write_table(tmp_path / "t.jsonl", ROWS)], tmp_path))
    write_dataset(images, tmp_path / "data", source="test", images_root=tmp_path)
    file = tmp_path / "data" / name

    @settings(max_examples=1000, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(mutations(name, file.read_bytes()))
    def mutate(changed):
        file.write_bytes(changed)
        attempt(lambda: Dataset.load(tmp_path / "data"))

    mutate()
