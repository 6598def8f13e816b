"""Image formats, told by the first bytes of a file and not by its name."""

import importlib
import re
from typing import Any, Protocol, cast, runtime_checkable

from PIL import ImageFile

from mrnn.errors import ImageError


@runtime_checkable
class OpenFile(Protocol):
    """What is asked of the open file of a photo."""

    def read(self, size: int = -1, /) -> bytes: ...  # noqa: D102

    def seek(self, offset: int, whence: int = 0, /) -> int: ...  # noqa: D102

    def tell(self) -> int: ...  # noqa: D102


MAX_READS = 1_000_000
"""Reads for a header: a few seconds. Real ones take some hundred, a PNG one for each chunk."""

HEAD = 512
"""Bytes that are enough to tell a format."""

READERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("mrnn.data.image_files.tiff", "FirstPage"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "AVIF": ("mrnn.data.image_files.avif", "FirstPicture"),
    "HEIC": ("mrnn.data.image_files.heic", "PrimaryPicture"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}
"""What is read, and by which module and class: none that starts another program."""

READ = "JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC and JPEG 2000"

STREAMED = {"PNG", "BMP", "TIFF", "PPM"}
"""Formats whose file is never in memory as a whole."""

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xffO\xffQ": "JPEG 2000",
}

_HEIF_BRANDS = {
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"mif1", b"mif2", b"msf1"),
}

_EXPORT = "export it as JPEG or PNG"
_CONVERT = "convert it to JPEG or PNG"
_FETCH = "download the photo itself"
_UNPACK = "unpack the photos in it"
_FRAME = "save a frame of it as JPEG"
_AGAIN = "copy the photo again"

_PROLOG = rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"

_OTHERS: tuple[tuple[bytes, str, str], ...] = (  # regular expressions for the first bytes
    (rb"\x00{16}", "no photo: it begins with zeros, as if not copied whole", _AGAIN),
    (rb"version https://git-lfs", "a Git LFS pointer, not the photo", "run git lfs pull"),
    (rb"%PDF", "a PDF document, not a photo", "export its pages as JPEG or PNG"),
    (rb"8BPS", "a Photoshop document (PSD)", _EXPORT),
    (rb"gimp xcf", "a GIMP document (XCF)", _EXPORT),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)", _EXPORT),
    (_PROLOG + rb"<(!doctype )?svg", "an SVG drawing", _EXPORT),
    (_PROLOG + rb"<(!doctype )?html", "an HTML page, not a photo", _FETCH),
    (rb"\s*<\?xml|\s*<[a-z]+[ >]", "an XML file, not a photo", _FETCH),
    (rb"\s*[{\[]\s*[\"{\[]", "a JSON file, not a photo", _FETCH),
    (rb"bplist00", "an Apple property list, as iCloud leaves for a photo", _FETCH + " from iCloud"),
    (rb"\x00\x05\x16[\x00\x07]", "a macOS resource file (AppleDouble), not the photo", "delete it"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "JPEG XL, which is not read", _CONVERT),
    (rb"II\xbc", "JPEG XR, which is not read", _CONVERT),
    (rb"FUJIFILMCCD-RAW", "a camera's raw photo (Fujifilm RAF)", _EXPORT),
    (rb"IIU\x00", "a camera's raw photo (Panasonic RW2)", _EXPORT),
    (rb"IIR[OS]|MMOR", "a camera's raw photo (Olympus ORF)", _EXPORT),
    (rb"II\x1a\x00\x00\x00HEAPCCDR", "a camera's raw photo (Canon CRW)", _EXPORT),
    (rb"....ftypcrx ", "a camera's raw photo (Canon CR3)", _EXPORT),
    (rb"FOVb|\x00MRM", "a camera's raw photo", _EXPORT),
    (rb"....ftyp(M4A|M4B|F4A)", "a sound file, not a photo", "leave it out"),
    (rb"....(ftyp|moov|mdat|wide|free|skip)", "a video (MP4 or MOV)", _FRAME),
    (rb"\x1aE\xdf\xa3", "a video (Matroska or WebM)", _FRAME),
    (rb"RIFF....AVI ", "a video (AVI)", _FRAME),
    (rb"\x00\x00\x01[\xb3\xba]|\x30\x26\xb2\x75\x8e\x66\xcf\x11|FLV", "a video", _FRAME),
    (rb"RIFF....WAVE|ID3|OggS|fLaC", "a sound file, not a photo", "leave it out"),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive", _UNPACK),
    (rb"Rar!|7z\xbc\xaf|\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive", _UNPACK),
    (rb"\xd0\xcf\x11\xe0", "an old Office document or Thumbs.db, not a photo", _EXPORT),
    (rb"\x00\x00\x01\x00|\x00\x00\x02\x00|icns", "an icon (ICO, CUR or ICNS)", _CONVERT),
    (rb"v/1\x01|#\?RADIANCE|SIMPLE  =|.{128}DICM", "a picture of science or film", _CONVERT),
    (rb"qoif|DDS |\x01\xda|FLIF|BPG\xfb", "a picture of a kind that is not read", _CONVERT),
)  # fmt: skip


def format_of(head: bytes) -> str:
    """A key of `READERS` by the first bytes of a file; "" for what is not read."""
    for start, name in _STARTS.items():
        if head.startswith(start) and not (name == "TIFF" and head[8:10] == b"CR"):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:1] == b"P" and head[1:2] in b"123456fFy7" and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {head[place : place + 4] for place in range(8, min(size, len(head)), 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIC"
    return ""


def what_else(head: bytes) -> str:
    """What a file is that is not read, and what mends that, by its first bytes."""
    if head[:4] in (b"II*\0", b"MM\0*"):
        return f"a camera's raw photo (Canon CR2); {_EXPORT}"
    for start, what, mend in _OTHERS:
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            return f"{what}; {mend}"
    seen = repr(head[:8])[1:]
    return f"not a photo (it begins with {seen}); {READ} are read"


def reader_of(name: str) -> type[ImageFile.ImageFile]:
    """Pillow's class for a key of `READERS`, imported when it is needed."""
    module, reader = READERS[name]
    return cast("type[ImageFile.ImageFile]", getattr(importlib.import_module(module), reader))


class CountedFile:
    """An open file that may be read so often while its header is parsed.

    Pillow goes through headers in Python, some of them byte by byte. Megabytes of nothing between
    the parts of a file would cost minutes.
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._left = MAX_READS

    def read(self, size: int = -1) -> bytes:  # noqa: D102
        self._left -= 1
        if self._left < 0:
            raise ImageError("its header has too many parts; save the photo again")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:  # noqa: D102
        return self._file.seek(offset, whence)

    def tell(self) -> int:  # noqa: D102
        return self._file.tell()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._file, name)

    def stop_counting(self) -> None:
        """The header is parsed; pixels may take as many reads as they need."""
        self.read = self._file.read  # type: ignore


def head_of(file: OpenFile) -> bytes:
    """The first bytes; the file stands at its beginning afterwards."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    return head
