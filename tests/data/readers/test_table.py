import csv
import gzip
import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.dataset import CaptionedImage
from mrnn.data.readers.table import read_table
from mrnn.errors import DataError
from tests.data.readers.test_rows import write_table

TABLES = {
    "t.csv": 'split,caption,image\nval,"A dog, running",a.jpg\ntrain,A cat,b/b.jpg\n'
    "val,Dogs,a.jpg\n",
    "t.tsv": "split\tcaption\timage\nval\tA dog, running\ta.jpg\ntrain\tA cat\tb/b.jpg\n"
    "val\tDogs\ta.jpg\n",
    "t.jsonl": '{"image": "a.jpg", "caption": "A dog, running", "split": "val"}\n'
    '{"image": "b/b.jpg", "caption": ["A cat"], "split": "train", "more": null}\n'
    '{"image": "a.jpg", "caption": ["Dogs"], "split": "val"}\n',
}
IMAGES = [
    CaptionedImage("a.jpg", Path("/photos/a.jpg"), "dev", ("A dog, running", "Dogs")),
    CaptionedImage("b/b.jpg", Path("/photos/b/b.jpg"), "train", ("A cat",)),
]


def read(folder, name, text, **options):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(content)
    return list(read_table([folder / name], Path("/photos"), **options))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
@pytest.mark.parametrize("name", TABLES)
def test_an_image_has_the_captions_of_all_its_rows(tmp_path, name, end, mark):
    text = mark + TABLES[name].encode().replace(b"\n", end)
    assert read(tmp_path, name, text) == IMAGES
    assert read(tmp_path, name.upper(), text.rstrip()) == IMAGES
    assert read(tmp_path, f"{name}.gz", gzip.compress(text)) == IMAGES


@pytest.mark.parametrize("name", TABLES)
def test_columns_of_other_names(tmp_path, name):
    text = TABLES[name].replace("image", "file").replace("caption", "text").replace("split", "part")
    columns = {"image_column": "file", "caption_column": "text"}
    assert [image.split for image in read(tmp_path, name, text, **columns)] == ["", ""]
    assert read(tmp_path, name, text, **columns, split_column="part") == IMAGES


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("column", ["image", "caption", "split"])
def test_a_column_that_is_not_there(tmp_path, name, column):
    there = r"no column 'nothing'; there are: (split, caption, image|image, caption, split)"
    with pytest.raises(DataError, match=rf"{name}:[12]: {there}"):
        read(tmp_path, name, TABLES[name], **{f"{column}_column": "nothing"})


def test_cells_of_csv_and_of_tsv(tmp_path):
    text = 'image , caption\na.jpg, "A sign: ""stop"", in\nred"\n'
    assert read(tmp_path, "t.csv", text)[0].captions == ('A sign: "stop", in\nred',)
    text = 'image\tcaption\na.jpg\t"Stop" signs, "red\na.jpg\t\n'
    assert read(tmp_path, "t.tsv", text)[0].captions == ('"Stop" signs, "red', "")


def test_a_path_may_be_absolute(tmp_path):
    assert read(tmp_path, "t.tsv", "image\tcaption\n/else/a.jpg\tA dog")[0].path == Path(
        "/else/a.jpg"
    )


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("t.csv", "image,n\na.jpg,A dog, running", r"2: 3 cells, but 2 in the header \(image, n; "),
        (
            "t.tsv",
            "image\tcaption\n\na.jpg",
            r"3: 1 cell, but 2 in the header \(image, caption; ",
        ),
        (
            "t.csv",
            "a;b\na.jpg;A dog",
            "2: no photos; expected image or the like, but there are: a",
        ),
        (
            "t.csv",
            "image,b\na.jpg,A dog",
            "2: no captions; expected caption or the like, but",
        ),
        (
            "t.csv",
            "file_name,image_id,b\na,7,c",
            "2: both file_name and image_id may hold the",
        ),
        ("t.csv", "image,caption,image\na,b,c", '1: two columns "image"; rename one'),
        ("t.csv", f"image,caption\na.jpg,{'A' * 200_000}", "2: a line of 200,006 characters; a "),
        ("t.csv", b"image,caption\na.jpg,caf\xe9\n", "2: not UTF-8"),
        (
            "t.csv",
            "image,caption\na,b\n ,A dog",
            '3: image: expected a whole number or a name, not ""',
        ),
        ("t.jsonl", '{"image": "a", "caption": "b"}\n{"image": "a"', r"2: not JSON "),
        ("t.jsonl", "[]", "1: expected an object, as .*, not a list of 0"),
        (
            "t.jsonl",
            '{"image": [3], "caption": "b"}',
            "1: image: expected a whole number or",
        ),
        (
            "t.jsonl",
            '{"image": {"path": 3}, "caption": "b"}',
            "1: holds no photo, neither",
        ),
        (
            "t.jsonl",
            '{"image": {"bytes": 3}, "caption": "b"}',
            "1: expected the bytes of a",
        ),
        (
            "t.jsonl",
            '\n{"image": "a", "caption": null}',
            "2: caption: expected a caption, not",
        ),
        ("t.jsonl", '{"image": "a", "caption": [3]}', "1: caption: expected a caption, not 3"),
        ("t.jsonl", '{"image": "a", "caption": "b", "split": 1}', "1: split: expected text, not 1"),
        (
            "t.csv",
            "image,caption,split\na,b,val\nb,c,dev\na,c,test",
            "4: 'a' is in 'test', but in 'dev' at .*t.csv:2",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path, name, text, problem):
    with pytest.raises(DataError, match=rf"{name}:{problem}"):
        read(tmp_path, name, text)


def test_what_is_not_a_table(tmp_path):
    with pytest.raises(
        DataError, match=r"t\.xlsx: not a table; its name must end in \.csv, \.tsv, "
    ):
        read(tmp_path, "t.xlsx", "")
    assert read(tmp_path, "t.csv", "") == []
    assert read(tmp_path, "t.tsv", "image\tcaption\n") == []


text = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))
row = st.tuples(st.text("ab", min_size=1), text)


@given(st.lists(row, min_size=1))
def test_what_is_written_is_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("table")
    cells = io.StringIO(newline="")
    csv.writer(cells).writerows([("image", "caption"), *rows])
    lines = [json.dumps({"image": image, "caption": caption}) for image, caption in rows]
    expected: dict[str, tuple[str, ...]] = {}
    for image, caption in rows:
        expected[image] = (*expected.get(image, ()), caption)
    found = read(folder, "t.jsonl", "\n".join(lines))
    assert [(image.name, image.captions) for image in found] == list(expected.items())
    found = read(folder, "t.csv", cells.getvalue())
    for name, captions in expected.items():  # CSV drops spaces around a cell
        expected[name] = tuple(caption.strip() for caption in captions)
    assert [(image.name, image.captions) for image in found] == list(expected.items())


@pytest.mark.parametrize("name", TABLES)
def test_thousands_of_images_are_quick(tmp_path, name):
    cells = [(f"{number}.jpg", "A dog runs") for number in range(3000) for _ in range(5)]
    if name == "t.jsonl":
        lines = [json.dumps({"image": image, "caption": caption}) for image, caption in cells]
    else:
        comma = "," if name == "t.csv" else "\t"
        lines = [comma.join(row) for row in [("image", "caption"), *cells]]
    start = time.process_time()
    assert len(read(tmp_path, name, "\n".join(lines))) == 3000
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| A dog, running\n"),
        ("captions.txt", 'image,caption\na.jpg,"A dog, running"\n'),
        ("metadata.csv", "file_name,text\na.jpg,A dog, running\n"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "A dog, running", "bbox": [1, 2]}'),
        ("windows.csv", "image;caption\nC:\\me\\photos\\a.jpg;A dog, running\n"),
        ("raw.csv", 'raw,sentids,filename,img_id\n"[""A dog, running""]",[0],a.jpg,7\n'),
        ("list.json", '[{"image": "a.jpg", "captions": [{"text": "A dog, running"}]}]'),
    ],
)
def test_tables_as_people_have_them(tmp_path, name, text):
    (tmp_path / "a.jpg").touch()
    (tmp_path / name).write_text(text)
    image = CaptionedImage("a.jpg", tmp_path / "a.jpg", "", ("A dog, running",))
    assert list(read_table([tmp_path / name], tmp_path)) == [image]


def test_spellings_of_one_photo_are_one_image(tmp_path):
    (tmp_path / "photos/sub").mkdir(parents=True)
    (tmp_path / "photos/sub/e\u0301.jpg").touch()
    names = ("sub/\u00e9.jpg", "sub\\e\u0301.jpg", f"{tmp_path}/photos/sub/\u00e9.jpg")
    lines = ["image,caption", *(f"{name},{n}" for n, name in enumerate(names))]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    (image,) = read_table([tmp_path / "t.csv"], tmp_path / "photos")
    assert (image.name, image.captions) == ("sub/e\u0301.jpg", ("0", "1", "2"))


def test_shards_of_parquet_with_photos(tmp_path):
    for split in ("train", "validation"):
        rows = [
            {
                "image": {"bytes": f"{split}{n}".encode(), "path": f"{split}{n}.jpg"},
                "text": [f"{n}"],
            }
            for n in (0, 1, 1)
        ]
        write_table(tmp_path / f"{split}-00000-of-00001.parquet", rows)
    notes = []
    folder = tmp_path / "photos"
    images = list(read_table(sorted(tmp_path.glob("*.parquet")), folder, notes=notes))
    assert images == [
        CaptionedImage(f"{theirs}{n}.jpg", folder / f"{theirs}{n}.jpg", ours, captions)
        for theirs, ours in (("train", "train"), ("validation", "dev"))
        for n, captions in enumerate([("0",), ("1", "1")])
    ]
    assert (folder / "train0.jpg").read_bytes() == b"train0"
    assert notes == [f"4 photos of {tmp_path}/train-00000-of-00001.parquet are now in {folder}"]
