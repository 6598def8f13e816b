import json
import os
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.dataset import CaptionedImage, Dataset, write_dataset
from mrnn.errors import DataError
from mrnn.locks import locked_folder


def captioned(name, split="train", captions=("a dog runs",), root=Path("/photos")):
    return CaptionedImage(name, root / name, split, tuple(captions))


@pytest.fixture
def folder(tmp_path):
    images = [
        captioned("a.jpg"),
        captioned("b.jpg", captions=["Ein Mädchen .", "a\tgirl\n"]),
        captioned("sub/c.jpg", "dev", captions=[]),
        CaptionedImage("d", Path("/elsewhere/d.jpg"), "test", ("a cat",)),
    ]
    write_dataset(images, tmp_path / "data", source="by hand", images_root=Path("/photos"))
    return tmp_path / "data"


# Written and read


def test_files_of_a_dataset_folder(folder):
    assert json.loads((folder / "dataset.json").read_text()) == {
        "format": 1,
        "source": "by hand",
        "images": "/photos",
        "splits": {
            "train": {"images": 2, "captions": 3},
            "dev": {"images": 1, "captions": 0},
            "test": {"images": 1, "captions": 1},
        },
    }
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["path"] for line in lines] == [
        *("a.jpg", "b.jpg", "sub/c.jpg", "/elsewhere/d.jpg")
    ]
    assert lines[1] == (
        '{"name": "b.jpg", "path": "b.jpg", "split": "train", '
        '"captions": ["Ein Mädchen .", "a\\tgirl\\n"]}'
    )
    assert sorted(os.listdir(folder)) == ["captions.jsonl", "dataset.json"]
    assert os.listdir(folder.parent) == ["data"]


def test_splits(folder):
    dataset = Dataset.load(folder)
    assert dataset.splits == ("train", "dev", "test")
    assert [image.name for image in dataset.split("train")] == ["a.jpg", "b.jpg"]
    assert dataset.split("test")[0].path == Path("/elsewhere/d.jpg")
    assert dataset.features_folder == folder / "features"
    with pytest.raises(DataError, match="data: no split 'val'; there are: train, dev, test"):
        dataset.split("val")


text = st.text(st.characters(codec="utf-8"))
name = text.filter(lambda text: text and "\0" not in text)
relative = st.lists(st.text("ab .é\n\u2028", min_size=1).filter(lambda p: p.strip(".")), min_size=1)
split = st.sampled_from(["train", "dev", "test", "other"])
record = st.tuples(name, relative, split, st.lists(text, max_size=3))


@given(st.lists(record, min_size=1, max_size=5, unique_by=lambda record: record[0]))
def test_what_is_written_is_read(records):
    images = tuple(
        CaptionedImage(name, Path("/photos", *parts), split, tuple(captions))
        for name, parts, split, captions in records
    )
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there, "data")
        for _ in range(2):  # anew over the old one as well
            write_dataset(images, folder, source="hypothesis", images_root=Path("/photos"))
        assert Dataset.load(folder) == Dataset(folder, images)


def test_relative_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = captioned("a.jpg", root=Path("photos"))
    write_dataset([image], Path("data"), source="here", images_root=Path("photos"))
    monkeypatch.chdir("/")
    assert Dataset.load(tmp_path / "data").images[0].path == tmp_path / "photos" / "a.jpg"


def test_the_nearest_folder_holds_the_images(tmp_path):
    images = [captioned("a.jpg", root=tmp_path / "x/y"), captioned("b.jpg", root=tmp_path / "x/z")]
    write_dataset(images, tmp_path / "data", source="here")
    header = json.loads((tmp_path / "data/dataset.json").read_text())
    assert header["images"] == str(tmp_path / "x")
    assert Dataset.load(tmp_path / "data").images == tuple(images)


def test_features_stay_when_a_dataset_is_written_anew(folder):
    (folder / "features").mkdir()
    (folder / "features" / "encoder.npy").touch()
    write_dataset([captioned("z.jpg")], folder, source="again", images_root=Path("/photos"))
    assert [image.name for image in Dataset.load(folder).images] == ["z.jpg"]
    assert (folder / "features" / "encoder.npy").exists()


def test_an_empty_folder_is_taken(tmp_path):
    write_dataset([captioned("a.jpg")], tmp_path, source="here", images_root=Path("/photos"))
    assert len(Dataset.load(tmp_path).images) == 1


# What is not written


@pytest.mark.parametrize("content", ['{"images": [], "dataset": "coco"}', "not JSON"])
def test_the_folder_of_something_else_is_left_as_it_is(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"holds something else, .*; choose another folder"):
        write_dataset([captioned("a.jpg")], tmp_path, source="here", images_root=tmp_path)
    assert os.listdir(tmp_path) == ["dataset.json"]
    assert (tmp_path / "dataset.json").read_text() == content


def test_a_folder_of_photos_is_left_as_it_is(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"holds something else.*No such file"):
        write_dataset([captioned("a.jpg")], tmp_path, source="here", images_root=tmp_path)


def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot be written .*; choose another"):
        write_dataset([captioned("a")], tmp_path / "file", source="s", images_root=tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(DataError, match=r"link: .*; choose another folder"):
        write_dataset([captioned("a")], tmp_path / "link", source="s", images_root=tmp_path)


def test_a_disk_that_is_full(tmp_path, limited):
    problem = r"data: cannot be written \(File too large\)"
    with limited(50), pytest.raises(DataError, match=problem):
        write_dataset([captioned("a")], tmp_path / "data", source="s", images_root=tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_replacement_is_finished_by_who_reads(folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before, names = Dataset.load(folder), sorted(os.listdir(folder))
    new = [captioned("new.jpg")]
    with monkeypatch.context() as patch:
        patch.setattr("mrnn.outputs.os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_dataset(new, folder, source="again", images_root=Path("/photos"))
    after = Dataset.load(folder)
    assert after == before or after.images == tuple(new)
    assert sorted(os.listdir(folder)) == names
    write_dataset(new, folder, source="again", images_root=Path("/photos"))
    assert Dataset.load(folder).images == tuple(new)


def test_a_second_writer_is_told(folder):
    with locked_folder(folder), pytest.raises(DataError, match="data is being written by another"):
        write_dataset([captioned("a")], folder, source="s", images_root=Path("/photos"))


def test_words_are_found_once():
    image = captioned("a.jpg", captions=["A dog's hat.", " . "])
    assert image.words == (("a", "dog", "'s", "hat"), ())
    assert image.words is image.words
    assert image == captioned("a.jpg", captions=["A dog's hat.", " . "])
    assert "words" not in repr(image)
    assert pickle.loads(pickle.dumps(image)) == image


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        ([], "list: no captioned images"),
        ([captioned("a"), captioned("a", "dev")], "list: 2 images are named 'a'"),
        ([captioned("a"), captioned("b", "")], "list: b is in no split; split the images first"),
        ([captioned("a\udcff.jpg")], r"list: not Unicode: .*a\\udcff\.jpg.*; rename the file"),
    ],
)
def test_what_is_refused_leaves_no_trace(tmp_path, images, problem):
    with pytest.raises(DataError, match=problem):
        write_dataset(images, tmp_path / "data", source="list", images_root=Path("/photos"))
    assert os.listdir(tmp_path) == []


def test_a_reader_that_fails_leaves_the_old_dataset(folder):
    def reader():
        yield captioned("new.jpg")
        raise DataError("captions.txt:2: bad line")

    before = (folder / "captions.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"captions\.txt:2"):
        write_dataset(reader(), folder, source="s", images_root=Path("/photos"))
    assert (folder / "captions.jsonl").read_bytes() == before


# What is not read


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("{", r"dataset\.json:1: not JSON .*; run mrnn prepare again"),
        ("[" * 100_000, r"dataset\.json: not JSON that is used here: nested .*; run mrnn prepare"),
        (
            '{"format": -5}',
            r"dataset\.json: format -5; this .* reads 1; upgrade mrnn, or run mrnn p",
        ),
        (f'{{"format": {10**400}}}', r"format 10{39}; this version of mrnn reads 1; upgrade"),
        ("[]", r"dataset\.json: format None; this version of mrnn reads 1; upgrade"),
        ('{"format": true}', "format True; this version"),
        ('{"format": 2, "pictures": 0}', "format 2; this version of mrnn reads 1; upgrade mrnn"),
        ('{"format": 1, "source": "s", "images": "/photos"}', "splits is missing"),
        ('{"format": 1, "source": "s", "images": 3, "splits": {}}', "images: expected text, not 3"),
    ],
)
def test_a_bad_header(folder, header, problem):
    (folder / "dataset.json").write_text(header)
    with pytest.raises(DataError, match=problem):
        Dataset.load(folder)


def test_a_header_that_is_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "dataset.json")
    with pytest.raises(DataError, match=r"dataset\.json: a device or a pipe, not a file; run mrnn"):
        Dataset.load(tmp_path)


def test_not_a_dataset(tmp_path):
    with pytest.raises(DataError, match=r"not a dataset folder \(dataset\.json: No such file"):
        Dataset.load(tmp_path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b'{"name": "\xff"}', "not JSON"),
        (b"[]", "valid dictionary|object"),
        (b'{"name": "z", "path": "z", "split": "dev"}', "captions is missing"),
        (b'{"name": "z", "path": "z", "split": "dev", "captions": "no"}', "captions: .*not 'no'"),
        (b'{"name": "z", "path": "z", "split": "dev", "captions": [3]}', r"captions\[0\]: .*not 3"),
        (b'{"name": "", "path": "z", "split": "dev", "captions": []}', "name: .*at least 1"),
        (b'{"name": "z", "path": "z", "split": "dev", "captions": [], "x": 1}', "x is unknown"),
        (b'{"name": "a.jpg", "path": "z", "split": "dev", "captions": []}', "line 1 has that name"),
    ],
)
def test_a_bad_line_is_named(folder, line, problem):
    file = folder / "captions.jsonl"
    lines = file.read_bytes().split(b"\n")
    lines[2] = line
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=rf"captions\.jsonl:3: .*({problem})"):
        Dataset.load(folder)


def test_captions_that_are_cut_short_or_missing(folder):
    file = folder / "captions.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        DataError,
        match=r"jsonl: holds train: 2 images, 3 captions; dev.*, but dataset\.json",
    ):
        Dataset.load(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"captions\.jsonl: No such file"):
        Dataset.load(folder)
