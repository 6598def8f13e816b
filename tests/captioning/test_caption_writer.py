import csv
import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.captioning.caption_writer import (
    CSV_COLUMNS,
    CaptionFile,
    Sidecars,
    coco_ids,
    write_coco_results,
)
from mrnn.captioning.results import Caption, ImageCaptions, Word
from mrnn.errors import DataError, OptionsError
from mrnn.model.tags import Tag

NAMES = [
    "plain.jpg",
    'with "quotes", commas.jpg',
    "emoji 🐕 é.jpg",
    "new\nline.jpg",
    "\rreturn.jpg",
    "odd\u2028\u0085separators.jpg",
    "image",
]


def result(name, captions=2):
    word = Word(word="dog", log_probability=-0.25)
    said = tuple(
        Caption(text=f'a "dog", {rank}', log_probability=-0.5 * rank, words=(word,))
        for rank in range(1, captions + 1)
    )
    tags = (Tag(tag="person", probability=0.9, count=2), Tag(tag="dog", probability=0.8))
    return ImageCaptions(image=name, captions=said, tags=tags, familiarity=0.9, confidence=0.7)


RESULTS = [*map(result, NAMES[:3]), ImageCaptions(image="bad.jpg", error='no, "such" file')]
RESULTS += [*map(result, NAMES[3:])]


GOOD = [one for one in RESULTS if not one.error]


def write(path, results=RESULTS):
    """As `mrnn caption --out` does: what is not there yet."""
    file = CaptionFile(path, n_best=2)
    for one in results:
        if one.image not in file.done:
            file.write(one)
    return path.read_bytes()


@pytest.fixture(params=[".jsonl", ".csv"])
def path(request, tmp_path):
    return tmp_path / f"captions{request.param}"


# What is written


def test_json_lines_are_the_results(tmp_path):
    content = write(tmp_path / "a.jsonl").decode()
    lines = content.removesuffix("\n").split("\n")
    assert [ImageCaptions.model_validate_json(line) for line in lines] == RESULTS
    assert json.loads(lines[0]) == {
        "image": "plain.jpg",
        "captions": [
            {
                "text": f'a "dog", {rank}',
                "log_probability": -0.5 * rank,
                "words": [{"word": "dog", "log_probability": -0.25}],
            }
            for rank in (1, 2)
        ],
        "tags": [
            {"tag": "person", "probability": 0.9, "count": 2},
            {"tag": "dog", "probability": 0.8},
        ],
        "familiarity": 0.9,
        "confidence": 0.7,
        "error": None,
    }


def test_csv_has_a_row_a_caption(tmp_path):
    write(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == CSV_COLUMNS
    expected = []
    for one in RESULTS:
        for rank, said in enumerate(one.captions, 1):
            log_probability = str(said.log_probability)
            confidence = "0.7" if rank == 1 else ""
            row = [one.image, str(rank), said.text, log_probability, "2 persons; dog", "0.9"]
            expected.append([*row, confidence, ""])
        if one.error:
            expected.append([one.image, *[""] * 6, one.error])
    assert rows == expected


def test_each_photo_is_on_the_disk_at_once(path):
    whole = write(path.with_name(f"whole{path.suffix}"))
    file, sizes = CaptionFile(path), [path.stat().st_size]
    for one in RESULTS:
        file.write(one)
        content = path.read_bytes()
        assert whole.startswith(content)
        sizes.append(len(content))
    assert sizes == sorted(set(sizes))
    assert content == whole


# Interrupted


def test_a_file_cut_anywhere_ends_as_one_that_was_not(path):
    whole = write(path, GOOD)
    ends = {place + shift for place, byte in enumerate(whole) for shift in range(3) if byte == 10}
    for kept in sorted({*range(0, len(whole), 7), *ends}):
        path.write_bytes(whole[:kept])
        assert write(path, GOOD) == whole, whole[:kept]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_csv_cut_between_two_rows_of_the_last_photo_does_that_photo_again(tmp_path):
    path = tmp_path / "a.csv"
    whole = write(path, GOOD[:2])
    path.write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    assert CaptionFile(path, n_best=2).done == {GOOD[0].image}
    assert write(path, GOOD[:2]) == whole
    assert CaptionFile(path, n_best=2).done == {one.image for one in GOOD[:2]}


def test_a_photo_that_failed_is_tried_again(path):
    write(path)
    file = CaptionFile(path, n_best=2)
    assert file.done == {one.image for one in GOOD}
    assert path.read_bytes() == write(path.with_name(f"good{path.suffix}"), GOOD)
    mended = result("bad.jpg")
    assert write(path, [mended]) == write(path.with_name(f"b{path.suffix}"), [*GOOD, mended])


def test_a_disk_that_is_full_when_a_file_is_mended_leaves_it_as_it_was(path, monkeypatch):
    whole = write(path)

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        CaptionFile(path, n_best=2)
    assert path.read_bytes() == whole


def test_a_whole_file_is_left_as_it_is(path):
    whole, before = write(path, GOOD), path.stat().st_mtime_ns
    file = CaptionFile(path, n_best=2)
    assert file.done == {one.image for one in GOOD}
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (whole, before)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=4))
def test_whatever_the_names_they_are_known_again(tmp_path_factory, names):
    for suffix in (".jsonl", ".csv"):
        path = tmp_path_factory.mktemp("any") / f"a{suffix}"
        whole = write(path, map(result, names))
        file = CaptionFile(path, n_best=2)
        assert file.done == set(names)
        assert path.read_bytes() == whole


def test_more_photos_come_after_those_that_are_there(path):
    whole = write(path, GOOD)
    half = path.with_name(f"half{path.suffix}")
    write(half, GOOD[:3])
    write(half, GOOD[3:])
    assert half.read_bytes() == whole


# Refused


@pytest.mark.parametrize(
    "content",
    [
        "hello",
        "hello\n",
        "name,age\nx,3\n",
        '{"image": "a.jpg"}\n\n',
        "[1]\n",
        "3\n",
        '{"name": 1}\n',
        '{"image": []}\n',
        "image,rank,text\na.jpg,1,dog\n",
        'image,rank,text,log_probability,tags,familiarity,confidence,error\n"a"b,1\n',
        "image,rank,text,log_probability,tags,familiarity,confidence,error\n\n",
        "image,rank,text,log_probability,tags,familiarity,confidence,error\na.jpg,1,dog\n",
        "image,rank,text,log_probability,familiarity,confidence,error\n",
        "\xff\xfe\n",
    ],
)
def test_another_file_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(OptionsError, match=rf"{path.name} exists and was not written by `mrnn cap"):
        CaptionFile(path)
    assert path.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(OptionsError, match=rf"{name}: captions go to a \.jsonl or a \.csv file$"):
        CaptionFile(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_photos_with_more_captions_than_asked_for_are_refused(path):
    whole = write(path)
    told = rf"{path.name} has up to 2 captions a photo, not 1; give another file, or --n-best 2$"
    with pytest.raises(OptionsError, match=told):
        CaptionFile(path, n_best=1)
    assert path.read_bytes() == whole


# Sidecars


def test_a_sidecar_holds_the_best_caption(tmp_path):
    photo = tmp_path / "a b.tar.jpg"
    sidecars = Sidecars([photo])
    sidecars.write(photo, result("x"))
    assert (tmp_path / "a b.tar.txt").read_text() == 'a "dog", 1\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a b.tar.txt"]
    assert sidecars.summary() == ["Text files written: 1"]


def test_with_tags_a_sidecar_has_a_second_line(tmp_path):
    sidecars = Sidecars([tmp_path / "a.jpg", tmp_path / "b.jpg"], tags=True)
    sidecars.write(tmp_path / "a.jpg", result("x"))
    sidecars.write(tmp_path / "b.jpg", result("x").model_copy(update={"tags": ()}))
    assert (tmp_path / "a.txt").read_text() == 'a "dog", 1\n2 persons, dog\n'
    assert (tmp_path / "b.txt").read_text() == 'a "dog", 1\n'


def test_a_users_text_is_never_written_over(tmp_path):
    photo, text = tmp_path / "a.jpg", tmp_path / "a.txt"
    photo.touch()
    text.write_bytes(b"my own notes \xff")
    sidecars = Sidecars([photo])
    sidecars.write(photo, result("x"))
    assert text.read_bytes() == b"my own notes \xff"
    assert Sidecars([photo]).left_to_do([photo]) == []
    kept = "Text files there already and stay; --overwrite replaces them: 1"
    assert sidecars.summary() == [kept]
    again = Sidecars([photo], overwrite=True)
    assert again.left_to_do([photo]) == [photo]
    again.write(photo, result("x"))
    assert text.read_text() == 'a "dog", 1\n'


def test_of_photos_of_one_name_the_first_has_the_text(tmp_path):
    photos = [tmp_path / name for name in ("a.jpg", "a.png", "b.png")]
    for photo in photos:
        photo.touch()
    sidecars = Sidecars(photos, overwrite=True)
    sidecars.write(photos[2], result("x"))
    with pytest.raises(FileExistsError, match=r"that name is for a\.jpg; rename one"):
        sidecars.write(photos[1], result("x"))
    sidecars.write(photos[0], result("x"))
    assert sidecars.summary() == ["Text files written: 2", "Text files not written: 1"]
    later = Sidecars(photos)
    assert later.left_to_do(photos) == [photos[1]]
    assert later.kept == 2


@pytest.mark.parametrize("name", ["", "x" * 300 + ".jpg", "gone.jpg"])
def test_photos_that_are_not_there_are_left_to_whoever_reads_them(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone.txt").touch()
    assert Sidecars([Path(name)]).left_to_do([Path(name)]) == [Path(name)]


def test_a_photo_that_is_called_txt_is_not_written_over(tmp_path):
    photo = tmp_path / "a.txt"
    photo.write_bytes(b"\x89PNG")
    sidecars = Sidecars([photo], overwrite=True)
    sidecars.write(photo, result("x"))
    assert photo.read_bytes() == b"\x89PNG"
    assert (sidecars.written, sidecars.kept) == (0, 1)


def test_a_full_disk_is_told_and_the_file_goes_on(path, limited, tmp_path):
    write(whole := path.with_stem("whole"), GOOD)
    size = len(whole.read_bytes())
    with (
        pytest.raises(OSError, match=rf"File too large: '.*{path.name}'"),
        limited(size * 2 // 3),
    ):
        write(path, GOOD)
    write(path, GOOD)
    assert path.read_bytes() == whole.read_bytes()


# Results for the COCO server


def test_the_id_of_a_coco_image():
    names = ["COCO_val2014_000000000042.jpg", "val2017/000000000043.jpg", "44", "b/45.png"]
    assert coco_ids(names) == [42, 43, 44, 45]
    assert coco_ids(["0" * 60_000 + "7.jpg"]) == [7]


@pytest.mark.parametrize(
    "name", ["dog.jpg", "COCO_val2014_.jpg", "42a.jpg", "", "٤٢.jpg", "-1.jpg"]
)
def test_a_name_without_an_id(name):
    with pytest.raises(DataError, match=rf"^'{name}' holds no image id; the COCO server takes who"):
        coco_ids([name])


@pytest.mark.parametrize("name", ["9" * 5000, "0" * 60_000 + "x"], ids=["digits", "zeros"])
def test_a_name_with_more_digits_than_an_id(name):
    with pytest.raises(DataError, match="holds no image id"):
        coco_ids([name])


def test_two_names_of_one_image():
    message = r"^'42\.jpg' and 'COCO_val2014_000000000042\.jpg' have one image id, 42$"
    with pytest.raises(DataError, match=message):
        coco_ids(["42.jpg", "COCO_val2014_000000000042.jpg"])


def test_results_are_in_the_form_of_the_server(tmp_path):
    file = tmp_path / "results.json"
    write_coco_results(file, [42, 7], ["a dog", "ein Hündchen"])
    assert json.loads(file.read_text(encoding="utf-8")) == [
        {"image_id": 42, "caption": "a dog"},
        {"image_id": 7, "caption": "ein Hündchen"},
    ]
    with pytest.raises(ValueError, match="shorter"):
        write_coco_results(file, [42, 7], ["a dog"])
