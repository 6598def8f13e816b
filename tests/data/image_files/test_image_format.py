import pytest
from PIL import Image

from mrnn.data.image_files.image_format import READERS, format_of, reader_of, what_else
from tests.data.heic_photos import PLAIN
from tests.data.photo_files import encoded, photo


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("JPEG", "JPEG"), ("MPO", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("BMP", "BMP")),
        *(("WEBP", "WebP"), ("TIFF", "TIFF"), ("PPM", "PPM"), ("AVIF", "AVIF")),
        ("JPEG2000", "JPEG 2000"),
    ],
)
def test_formats_that_pillow_writes(kind, name):
    assert format_of(encoded(photo(), kind)) == name


def test_big_tiff():
    assert format_of(encoded(photo(), "TIFF", big_tiff=True)) == "TIFF"


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"heic....mif1heic", "HEIC"),
        (b"mif1....mif1heic", "HEIC"),
        (b"msf1....hevcmsf1", "HEIC"),
        (b"avif....avifmif1miaf", "AVIF"),
        (b"mif1....mif1avif", "AVIF"),
        (b"avis....avismsf1", "AVIF"),
        (b"isom....isomiso2avc1mp41", ""),
        (b"qt  ....qt  ", ""),
        (b"crx ....crx isom", ""),
    ],
)
def test_brands_of_the_heif_family(brands, name):
    box = (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands
    assert format_of(box + b"avifheic") == name  # what follows the box does not count


def test_each_format_has_a_reader():
    for name in READERS:
        assert issubclass(reader_of(name), Image.Image)
    assert reader_of("HEIC")(_stream(PLAIN)).size == (32, 16)


def _stream(data):
    import io

    return io.BytesIO(data)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"%PDF-1.7", "a PDF document, not a photo; export its pages as JPEG or PNG"),
        (b"8BPS\0\1", "a Photoshop document (PSD); export it as JPEG or PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript drawing (EPS); export it as JPEG or PNG"),
        (b'<svg xmlns="x">', "an SVG drawing; export it as JPEG or PNG"),
        (b'<?xml version="1.0"?>\n<!-- x --><svg>', "an SVG drawing; export it as JPEG or PNG"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>", "an HTML page, not a photo; download the photo itself"),
        (b"<html lang=en>", "an HTML page, not a photo; download the photo itself"),
        (b'<?xml version="1.0"?><Error>', "an XML file, not a photo; download the photo itself"),
        (b'{"error": 404}', "a JSON file, not a photo; download the photo itself"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer, not the photo; run"),
        (b"bplist00\xd4", "an Apple property list, as iCloud leaves for a photo; download"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", "a macOS resource file (AppleDouble), not the photo; de"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL, which is not read; convert it to JPEG or PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL, which is not read; convert it to JPEG or PNG"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw photo (Canon CR2); export it as JPEG or PNG"),
        (b"\0\0\0\x18ftypcrx \0\0", "a camera's raw photo (Canon CR3); export it as JPEG or PNG"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw photo (Fujifilm RAF); export it"),
        (b"IIRO\x08\0\0\0", "a camera's raw photo (Olympus ORF); export it"),
        (b"\0\0\0\x20ftypisom", "a video (MP4 or MOV); save a frame of it as JPEG"),
        (b"\0\0\0\x14ftypqt  ", "a video (MP4 or MOV); save a frame of it as JPEG"),
        (b"\x1aE\xdf\xa3", "a video (Matroska or WebM); save a frame of it as JPEG"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI); save a frame of it as JPEG"),
        (b"ID3\3", "a sound file, not a photo; leave it out"),
        (b"PK\3\4", "a ZIP archive; unpack the photos in it"),
        (b"\x1f\x8b\x08", "an archive; unpack the photos in it"),
        (b"\0\0\1\0\1\0", "an icon (ICO, CUR or ICNS); convert it to JPEG or PNG"),
        (b"\0" * 512, "no photo: it begins with zeros, as if not copied whole; copy"),
        (b"hello \x1b world", "not a photo (it begins with 'hello \\x1b '); JPEG, PNG, GIF"),
        (b"x", "not a photo (it begins with 'x'); JPEG, PNG, GIF"),
    ],
)
def test_what_is_not_read_is_named(head, message):
    assert format_of(head) == ""
    assert what_else(head).startswith(message)
