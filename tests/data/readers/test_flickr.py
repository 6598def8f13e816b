import time

import pytest

from mrnn.data.dataset import CaptionedImage
from mrnn.data.readers.flickr import read_flickr
from mrnn.errors import DataError

TOKENS = """\
b.jpg#0\tA dog .
b.jpg#1\tA dog # 1 runs .
a.jpg#0\tA cat .
c.jpg#0\tA bird .
odd_586949ec62.jpg.1#0\tA man .
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("b.jpg\n")
    (tmp_path / "Flickr_8k.testImages.txt").write_text("a.jpg \n")
    return tmp_path


def read(source):
    return list(read_flickr(source, source / "images"))


def test_images_in_the_order_of_the_lists_then_those_in_no_list(source):
    assert read(source)[:2] == [
        CaptionedImage("b.jpg", source / "images/b.jpg", "train", ("A dog .", "A dog # 1 runs .")),
        CaptionedImage("a.jpg", source / "images/a.jpg", "test", ("A cat .",)),
    ]
    (source / "Flickr_8k.devImages.txt").write_text("c.jpg")
    assert [(image.name, image.split) for image in read(source)] == [
        *(("b.jpg", "train"), ("c.jpg", "dev"), ("a.jpg", "test")),
        ("odd_586949ec62.jpg.1", ""),
    ]


def test_flickr30k_has_no_lists(source):
    for file in source.glob("*.txt"):
        file.unlink()
    (source / "results_20130124.token").write_text(TOKENS)
    assert [(image.name, image.split, len(image.captions)) for image in read(source)] == [
        *(("b.jpg", "", 2), ("a.jpg", "", 1), ("c.jpg", "", 1), ("odd_586949ec62.jpg.1", "", 1))
    ]


def test_lemmatized_captions_do_not_count(source):
    expected = read(source)
    (source / "Flickr8k.lemma.token.txt").write_text("a.jpg#0\tdog be run\n")
    assert read(source) == expected


def test_thousands_of_images_are_quick(source):
    names = [f"{number:010}.jpg" for number in range(3000)]
    lines = (f"{name}#{n}\tA dog runs .\n" for name in names for n in range(5))
    (source / "Flickr8k.token.txt").write_text("".join(lines))
    (source / "Flickr_8k.trainImages.txt").write_text("\n".join(names[1000:]))
    (source / "Flickr_8k.testImages.txt").write_text("\n".join(names[:1000]))
    start = time.process_time()
    assert len(read(source)) == 3000
    assert time.process_time() - start < 3


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("cut", [0, 1])
def test_marks_and_ends_of_lines_make_no_difference(source, mark, end, cut):
    expected = read(source)
    for file in source.glob("*.txt"):
        content = mark + file.read_bytes().replace(b"\n", end) + end * 2
        file.write_bytes(content.rstrip() if cut else content)
    assert read(source) == expected


def test_an_empty_caption_is_read_for_the_check_to_report(source):
    (source / "Flickr8k.token.txt").write_text("a.jpg#0\t\nb.jpg#0\t é\u2028 \n")
    assert [image.captions for image in read(source)] == [(" é\u2028 ",), ("",)]


@pytest.mark.parametrize("line", ["a.jpg#0 no tab", "a.jpg\tno number", "#0\tno name", "words"])
def test_a_bad_line_is_named(source, line):
    (source / "Flickr8k.token.txt").write_text(f"{TOKENS}\n{line}\n")
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt:7: expected 'image\.jpg#0', a tab"):
        read(source)


def test_a_file_that_is_not_utf8(source):
    (source / "Flickr8k.token.txt").write_bytes(b"a.jpg#0\tA dog\na.jpg#1\tcaf\xe9\n")
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt:2: not UTF-8"):
        read(source)


def test_a_file_that_cannot_be_read(source):
    (source / "Flickr8k.token.txt").unlink()
    (source / "Flickr8k.token.txt").mkdir()
    with pytest.raises(DataError, match=r"token\.txt: a folder, not a file"):
        read(source)


def test_a_listed_image_without_captions(source):
    (source / "Flickr_8k.testImages.txt").write_text("a.jpg\nz.jpg\n")
    with pytest.raises(DataError, match=r"testImages\.txt:2: 'z\.jpg' has no captions in the"):
        read(source)


def test_an_image_in_two_lists(source):
    (source / "Flickr_8k.testImages.txt").write_text("a.jpg\nb.jpg\n")
    both = r"testImages\.txt:2: 'b\.jpg' is in .*trainImages\.txt already"
    with pytest.raises(DataError, match=both):
        read(source)


def test_files_that_are_missing_or_too_many(source):
    (source / "other.trainImages.txt").touch()
    several = r"several files \*\.trainImages\.txt \(Flickr_8k\.trainImages\.txt, other.*keep one"
    with pytest.raises(DataError, match=several):
        read(source)
    (source / "Flickr8k.token.txt").unlink()
    with pytest.raises(DataError, match=r"no file \*\.token\*; SOURCE is the folder that"):
        read(source)
