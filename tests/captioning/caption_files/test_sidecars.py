import os
from pathlib import Path

import pytest

from mrnn.captioning.caption_files.sidecars import Existing, Sidecars, TextSidecar, XmpSidecar
from mrnn.captioning.caption_files.written_text import WrittenText
from mrnn.captioning.caption_files.xmp import described
from mrnn.errors import DataError
from tests.captioning.photo_results import result

TEXT = 'a "dog", 1\n'


def texts(existing="skip", text=WrittenText(), **options):  # noqa: B008
    existing = Existing(existing)
    return Sidecars(TextSidecar(existing, text, **options), existing)


def xmps(existing="skip"):
    return Sidecars(XmpSidecar(Existing(existing)), Existing(existing))


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "a.jpg").touch()
    return tmp_path / "a.jpg"


# Texts


def test_a_sidecar_holds_the_best_caption(tmp_path):
    photo = tmp_path / "a b.tar.jpg"
    sidecars = texts()
    sidecars.write(photo, result("x"))
    assert (tmp_path / "a b.tar.txt").read_text() == TEXT
    assert [path.name for path in tmp_path.iterdir()] == ["a b.tar.txt"]
    assert sidecars.summary() == ["Text files written: 1"]


def test_with_tags_a_sidecar_has_a_second_line(tmp_path):
    sidecars = texts(tags=True)
    sidecars.write(tmp_path / "a.jpg", result("x"))
    sidecars.write(tmp_path / "b.jpg", result("x").model_copy(update={"tags": ()}))
    assert (tmp_path / "a.txt").read_text() == f"{TEXT}2 persons, dog\n"
    assert (tmp_path / "b.txt").read_text() == TEXT


def test_a_suffix_and_words_before_and_after(photo):
    sidecars = texts(text=WrittenText("sks dog, ", ", photo"), suffix=".caption")
    sidecars.write(photo, result("x"))
    assert photo.with_suffix(".caption").read_text() == 'sks dog, a "dog", 1, photo\n'


def test_a_users_text_is_never_written_over(photo):
    text = photo.with_suffix(".txt")
    text.write_bytes(b"my own notes \xff")
    sidecars = texts()
    assert sidecars.is_done(photo)
    sidecars.write(photo, result("x"))
    assert text.read_bytes() == b"my own notes \xff"
    kept = "Text files there already and stay; --existing overwrite replaces them: 1"
    assert sidecars.summary() == [kept]
    again = texts("overwrite")
    assert not again.is_done(photo)
    again.write(photo, result("x"))
    assert text.read_text() == TEXT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", TEXT.encode()),
        (b"mine\n", b"mine\n" + TEXT.encode()),
        (b"mine", b"mine\n" + TEXT.encode()),
        (b"\xef\xbb\xbfmine\r\nyours\r\n", b'\xef\xbb\xbfmine\r\nyours\r\na "dog", 1\r\n'),
        (TEXT.encode() + b"mine\n", TEXT.encode() + b"mine\n"),
    ],
)
def test_a_caption_is_added_to_the_text_that_is_there_once(photo, before, after):
    text = photo.with_suffix(".txt")
    text.write_bytes(before)
    for _ in range(2):
        texts("append").write(photo, result("x"))
        assert text.read_bytes() == after
    again = texts("append")
    again.write(photo, result("x"))
    assert again.summary() == ["Text files there already and stay: 1"]


def test_nothing_is_added_to_what_is_no_text(photo):
    photo.with_suffix(".txt").write_bytes(b"\xff\xfea")
    sidecars = texts("append")
    with pytest.raises(DataError, match=r"^a\.txt is not UTF-8; save it as UTF-8$"):
        sidecars.write(photo, result("x"))
    assert photo.with_suffix(".txt").read_bytes() == b"\xff\xfea"
    assert sidecars.summary() == ["Text files not written: 1"]
    photo.with_suffix(".txt").unlink()
    os.mkfifo(photo.with_suffix(".txt"))
    with pytest.raises(DataError, match=r"^a\.txt is not a plain file; rename it$"):
        sidecars.write(photo, result("x"))


def test_a_link_is_replaced_and_what_it_leads_to_stays(photo, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    photo.with_suffix(".txt").symlink_to(victim)
    (tmp_path / "a.txt.mrnn-new").symlink_to(victim)
    texts().write(photo, result("x"))
    assert photo.with_suffix(".txt").is_symlink()
    texts("append").write(photo, result("x"))
    assert photo.with_suffix(".txt").read_text() == f"precious\n{TEXT}"
    photo.with_suffix(".txt").unlink()
    photo.with_suffix(".txt").symlink_to(victim)
    texts("overwrite").write(photo, result("x"))
    assert not photo.with_suffix(".txt").is_symlink()
    assert victim.read_text() == "precious\n"


def test_of_photos_of_one_name_the_first_that_can_be_read_has_the_text(tmp_path):
    photos = [tmp_path / name for name in ("a.heic", "a.jpg", "a.png")]
    for each in photos:
        each.touch()
    sidecars = texts("overwrite")  # a.heic cannot be read, so nothing is to be written for it
    sidecars.write(photos[1], result("x"))
    sidecars.write(photos[2], result("y"))  # the same text
    with pytest.raises(DataError, match=r"^a\.txt is that of a\.jpg; rename one of the photos$"):
        sidecars.write(photos[2], result("x", text="another {}"))
    assert sidecars.summary() == [
        "Text files written: 1",
        "Text files shared with a photo of the same name and caption: 1",
        "Text files not written: 1",
    ]
    assert photos[1].with_suffix(".txt").read_text() == TEXT


@pytest.mark.parametrize("name", ["", "x" * 300 + ".jpg", "gone.jpg"])
def test_photos_that_are_not_there_are_left_to_whoever_reads_them(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone.txt").touch()
    assert not texts().is_done(Path(name))


def test_a_name_that_is_too_long_for_a_text_beside_it(tmp_path):
    photo = tmp_path / ("x" * 251 + ".jpg")
    photo.touch()
    with pytest.raises(OSError, match=r"File name too long: .*\.caption'"):
        texts(suffix=".caption").write(photo, result("x"))
    assert list(tmp_path.iterdir()) == [photo]


def test_a_photo_that_is_called_txt_is_not_written_over(tmp_path):
    photo = tmp_path / "a.txt"
    photo.write_bytes(b"\x89PNG")
    sidecars = texts("overwrite")
    sidecars.write(photo, result("x"))
    assert photo.read_bytes() == b"\x89PNG"
    assert (sidecars.written, sidecars.kept) == (0, 1)


def test_a_photo_that_is_called_as_the_text_of_another_is_not_written_over(tmp_path):
    photo, other = tmp_path / "a.png", tmp_path / "a.txt"
    other.write_bytes(b"\x89PNG")
    (tmp_path / "to").symlink_to(tmp_path)
    for existing in ("overwrite", "append"):
        sidecars = texts(existing)
        sidecars.protect([photo, tmp_path / "to" / "a.txt"])
        with pytest.raises(
            DataError, match=r"^a\.txt is a photo or the output of this run; rename it$"
        ):
            sidecars.write(photo, result("x"))
    assert other.read_bytes() == b"\x89PNG"


# XMP


def test_an_xmp_file_is_beside_the_photo(photo, tmp_path):
    sidecars = xmps()
    sidecars.write(photo, result("x"))
    file = tmp_path / "a.xmp"
    assert described(file.read_bytes(), file) == 'a "dog", 1'
    assert sidecars.is_done(photo)
    sidecars.write(photo, result("x", text="another {}"))
    assert described(file.read_bytes(), file) == 'a "dog", 1'
    stay = "XMP files there already and stay; --existing overwrite replaces them: 1"
    assert sidecars.summary() == ["XMP files written: 1", stay]


def test_an_xmp_file_of_the_long_name_is_the_photos_own(photo, tmp_path):
    xmps().write(photo, result("x"))
    long = tmp_path / "a.jpg.xmp"
    (tmp_path / "a.xmp").rename(long)
    xmps("append").write(photo, result("x", text="another {}"))
    assert described(long.read_bytes(), long) == 'a "dog", 1\nanother 1'
    assert not (tmp_path / "a.xmp").exists()


def test_photos_of_one_name_have_xmp_files_of_their_own(photo, tmp_path):
    (tmp_path / "a.png").touch()
    for _ in range(2):
        sidecars = xmps("overwrite")
        sidecars.write(photo, result("x"))
        sidecars.write(tmp_path / "a.png", result("x", text="another {}"))
    assert sorted(path.name for path in tmp_path.glob("*.xmp")) == ["a.png.xmp", "a.xmp"]
    for name, text in {"a.xmp": 'a "dog", 1', "a.png.xmp": "another 1"}.items():
        assert described((tmp_path / name).read_bytes(), tmp_path / name) == text


def test_a_damaged_xmp_file_is_refused_and_stays(photo, tmp_path):
    (tmp_path / "a.xmp").write_bytes(b"<x:xmpmeta")
    for existing in Existing:
        sidecars = xmps(existing)
        assert not sidecars.is_done(photo)
        with pytest.raises(DataError, match=r"^a\.xmp is not XMP that can be changed \("):
            sidecars.write(photo, result("x"))
    assert (tmp_path / "a.xmp").read_bytes() == b"<x:xmpmeta"
