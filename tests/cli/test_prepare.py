"""`mrnn prepare` on a small source of each kind."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from mrnn.cli import app
from mrnn.data.dataset import Dataset
from mrnn.errors import DataError, OptionsError
from tests.data.readers.test_rows import write_table

KARPATHY = {
    "images": [
        {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "A dog"}]},
        {"filename": "b.jpg", "split": "val", "sentences": [{"raw": "A cat"}]},
        {"filename": "c.jpg", "split": "restval", "sentences": []},
    ]
}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "bare.jpg"}],
    "annotations": [{"image_id": 1, "caption": "A dog"}],
}
COCO_VAL = {
    "images": [{"id": 3, "file_name": "b.jpg"}],
    "annotations": [{"image_id": 3, "caption": "A cat"}],
}
FILES = {
    "flickr/f.token": "a.jpg#0\tA dog\nb.jpg#0\tA cat\nc.jpg#0\tA bird\n",
    "dataset.json": json.dumps(KARPATHY),
    "captions_train2014.json": json.dumps(COCO),
    "captions_val2014.json": json.dumps(COCO_VAL),
    "photos/00/1.jpg": "",
    "photos/c.jpg": "",
    "iapr/00/1.eng": "<DESCRIPTION>A dog; a wall;</DESCRIPTION>",
    "iapr/00/2.eng": "<DESCRIPTION>A cat;</DESCRIPTION>",
    "table.csv": "file,text,part\na.jpg,A dog,train\nb.jpg,A cat,val\n",
    "photos/a.jpg": "",
    "photos/a.txt": "A dog\n",
    "photos/b.jpg": "",
    "photos/b.txt": "A cat\n",
    "dev.txt": "b\n",
    "train.txt": "a.jpg\n",
}
LISTS = ("--split-list", "train=train.txt", "--split-list", "val=dev.txt")
COLUMNS = ("--image-column", "file", "--caption-column", "text", "--split-column", "part")


@pytest.fixture(autouse=True)
def sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)


def prepare(*arguments):
    arguments = ("prepare", *arguments, "--images", "photos", "--out", "data")
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("flickr", "flickr", *LISTS),
        ("flickr", "flickr", *LISTS, "--leave-out", "c.jpg"),
        ("karpathy", "dataset.json"),
        ("karpathy", "dataset.json", *LISTS),
        ("coco", "captions_train2014.json", "captions_val2014.json"),
        ("table", "table.csv", *COLUMNS),
        ("folder", "photos", *LISTS),
    ],
)
def test_every_kind_makes_a_dataset(arguments, tmp_path):
    result = prepare(*arguments)
    assert result.stdout == "train: 1 image, 1 caption\ndev: 1 image, 1 caption\n"
    images = Dataset.load(tmp_path / "data").images
    assert [(image.name, image.captions) for image in images] == [
        *(("a.jpg", ("A dog",)), ("b.jpg", ("A cat",)))
    ]
    assert json.loads((tmp_path / "data/dataset.json").read_text())["source"] == arguments[0]


@pytest.mark.parametrize(("sentences", "captions"), [((), 3), (("split",), 3), (("joined",), 2)])
def test_iapr_at_random(sentences, captions):
    option = ("--sentences", *sentences) if sentences else ()
    result = prepare("iapr", "iapr", "--fractions", "1", "0", "0", *option)
    assert result.stdout == f"train: 2 images, {captions} captions\n"


def test_what_is_left_out_is_told():
    listed = prepare("flickr", "flickr", "--split-list", "dev=dev.txt")
    assert listed.stderr.startswith("2 images in no split are left out\n")
    assert "1 image without captions is left out\n" in prepare("karpathy", "dataset.json").stderr
    random = prepare("flickr", "flickr")
    assert random.stdout.count(": 1 image") == 3
    assert "The source has no splits: train, dev and test are chosen at random\n" in random.stderr
    assert (
        prepare("flickr", "flickr", "--seed", "1").stderr == "Wrote data. Next: mrnn check data\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("flickr", "flickr", "--sentences", "split"), "flickr does not take --sentences; .* iapr"),
        (
            ("iapr", "iapr", "--image-column", "x"),
            "iapr does not take --image-column; .* table does",
        ),
        (("coco", "x", "--split-column", "x"), "coco does not take --split-column; .* table does"),
        (
            ("karpathy", "a", "b"),
            "prepare karpathy takes one SOURCE, not 2; coco, table and datasets take several",
        ),
        (("datasets", "a", "b"), "prepare datasets takes no --images: each dataset knows its own"),
        (
            ("folder", "photos", "--images", "none"),
            "none: no such folder of images; check --images",
        ),
    ],
)
def test_options_that_do_not_fit(arguments, problem):
    arguments = ("prepare", *arguments, "--out", "data")
    images = () if "--images" in arguments else ("--images", "photos")
    error = CliRunner().invoke(app, (*arguments, *images)).exception
    assert isinstance(error, OptionsError)
    with pytest.raises(OptionsError, match=problem):
        raise error


def test_a_table_without_rows_is_named(tmp_path):
    table = tmp_path / "empty.csv"
    table.write_text("image,caption\n")
    arguments = ("prepare", "table", str(table), "--images", str(tmp_path), "--out", "data")
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, OptionsError)
    assert str(error) == f"{table}: no captioned images, so there is no dataset to write"


def test_nothing_that_has_captions(tmp_path):
    (tmp_path / "photos/a.txt").unlink()
    (tmp_path / "photos/b.txt").unlink()
    with pytest.raises(DataError, match=r"^photos: 4 photos, none with a \.txt beside it; w"):
        raise prepare("folder", "photos").exception
    assert not (tmp_path / "data").exists()


def test_photos_have_a_folder():
    error = CliRunner().invoke(app, ("prepare", "folder", "photos", "--out", "data")).exception
    with pytest.raises(OptionsError, match="prepare folder needs --images FOLDER, where the"):
        raise error


def test_dataset_folders_are_joined(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/d.jpg").touch()
    (tmp_path / "more/d.txt").write_text("A kitchen\n")
    for arguments in (
        ("karpathy", "dataset.json", "--images", "photos", "--out", "one"),
        ("folder", "more", "--images", "more", "--out", "two", "--fractions", "1", "0", "0"),
        ("datasets", "one", "two", "--out", "both"),
    ):
        result = CliRunner().invoke(app, ("prepare", *arguments))
    assert result.stdout == "train: 2 images, 2 captions\ndev: 1 image, 1 caption\n"
    both = Dataset.load(tmp_path / "both")
    assert [(image.name, image.path, image.split) for image in both.images] == [
        ("a.jpg", tmp_path / "photos/a.jpg", "train"),
        ("b.jpg", tmp_path / "photos/b.jpg", "dev"),
        ("d.jpg", tmp_path / "more/d.jpg", "train"),
    ]


TABLE = "image|caption\n" + "".join(f"{n}.jpg|A dog\n" for n in range(5))


def test_notes_and_missing_photos_are_told(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    error = prepare("table", "t.csv").exception
    with pytest.raises(OptionsError, match=r"^none of the 5 photos is there; .*\d\.jpg; check"):
        raise error
    assert not (tmp_path / "data").exists()
    (tmp_path / "photos/3.jpg").touch()
    result = prepare("table", "t.csv", "--fractions", "1", "0", "0")
    assert result.stdout == "train: 5 images, 5 captions\n"
    assert result.stderr.splitlines() == [
        "t.csv: cells are divided by bars",
        f"4 of 5 photos are missing, the first: {tmp_path}/photos/0.jpg",
        "Wrote data. Next: mrnn check data",
    ]


def test_several_tables_and_a_delimiter(tmp_path):
    for name, text in (("one.csv", "image#caption\na.jpg#A dog\n"), ("two.jsonl", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "two.csv").write_text("image#caption\nb.jpg#A cat\n")
    options = ("--delimiter", "#", "--fractions", "1", "0", "0")
    assert prepare("table", "one.csv", "two.csv", *options).stdout.startswith("train: 2 images")
    (tmp_path / "t.csv").write_text("image\tcaption\na.jpg\tA dog\n")
    for tab in ("tab", "\\t", "\t"):
        options = ("--delimiter", tab, "--fractions", "1", "0", "0")
        assert prepare("table", "t.csv", *options).stderr.startswith("Wrote data")


def test_another_suffix(tmp_path):
    (tmp_path / "photos/c.caption").write_text("A dog\n")
    options = ("--suffix", ".caption", "--fractions", "1", "0", "0")
    assert prepare("folder", "photos", *options).stdout == "train: 1 image, 1 caption\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ("folder", "photos", "--suffix", "caption"),
            r"--suffix 'caption': expected one like",
        ),
        (("folder", "photos", "--suffix", "./a"), r"--suffix '\./a': expected one like \.txt or"),
        (("table", "table.csv", "--suffix", ".a"), "table does not take --suffix; prepare folder"),
        (("folder", "photos", "--delimiter", ";"), "folder does not take --delimiter; prepare tab"),
        (("table", "table.csv", "--delimiter", "ab"), "--delimiter 'ab': expected one character"),
        (("table", "table.csv", "--delimiter", '"'), "--delimiter '\"': expected one character"),
    ],
)
def test_suffixes_and_delimiters_that_are_none(arguments, problem):
    with pytest.raises(OptionsError, match=problem):
        raise prepare(*arguments).exception


def test_what_check_lists_is_left_out(tmp_path):
    for name in ("b.jpg", "c.jpg"):
        Image.new("RGB", (8, 8), (name[0] == "b" and "red") or "blue").save(
            tmp_path / "photos" / name
        )
    lists = ("--split-list", "train=all.txt", "--split-list", "dev=dev.txt")
    (tmp_path / "all.txt").write_text("a\nc\n")
    assert prepare("flickr", "flickr", *lists).exit_code == 0
    checked = CliRunner().invoke(app, ("check", "data", "--broken", "broken.txt"))
    assert checked.exit_code == 1
    assert "error: images of train broken (1):\n  " in checked.stdout
    assert "Listed 1 missing or broken photos in broken.txt\n" in checked.stderr
    assert (tmp_path / "broken.txt").read_text().splitlines()[1:] == ["a.jpg"]
    result = prepare("flickr", "flickr", *lists, "--leave-out-file", "broken.txt")
    assert [image.name for image in Dataset.load(tmp_path / "data").images] == ["c.jpg", "b.jpg"]
    assert result.stderr == "Wrote data. Next: mrnn check data\n"
    again = CliRunner().invoke(app, ("check", "data", "--broken", "broken.txt"))
    assert again.exit_code == 0  # the list is ours, so it is written anew
    assert (tmp_path / "broken.txt").read_text().splitlines()[1:] == []
    error = CliRunner().invoke(app, ("check", "data", "--broken", "all.txt")).exception
    with pytest.raises(OptionsError, match=r"--broken all\.txt exists and is not an earlier"):
        raise error


def test_photos_of_a_parquet_file(tmp_path):
    rows = [{"image": {"bytes": b"x", "path": "x.jpg"}, "caption": ["A dog"]}]
    write_table(tmp_path / "t.parquet", rows)
    arguments = ("table", "t.parquet", "--images", "new", "--out", "data", "--seed", "0")
    fractions = ("--fractions", "1", "0", "0")
    result = CliRunner().invoke(app, ("prepare", *arguments, *fractions))
    assert result.stdout == "train: 1 image, 1 caption\n"
    assert (tmp_path / "new/x.jpg").read_bytes() == b"x"
