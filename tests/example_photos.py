"""The photos in examples/, and others made of them: what users have, at the edge of the usual."""

from pathlib import Path

from PIL import ExifTags, Image

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTOS = sorted(file for file in EXAMPLES.iterdir() if file.suffix in (".jpg", ".png"))
ASTRONAUT = EXAMPLES / "astronaut.jpg"
CAT = EXAMPLES / "cat.jpg"
PAGE = EXAMPLES / "page.png"
LARGE = (4000, 3000)
"""12 megapixels, as a telephone takes them."""


def write_photos(folder: Path) -> dict[str, Path]:
    """Photos of each kind in the folder, by name; the same pixels on every machine.

    upright, grey and transparent are examples as they are. turned holds the pixels of upright, to
    be turned by a quarter as EXIF says. tiny has 20 x 14 pixels, large 12 million.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = {
        "upright": ASTRONAUT,
        "turned": folder / "turned.jpg",
        "grey": EXAMPLES / "photographer.jpg",
        "transparent": PAGE,
        "tiny": folder / "tiny.png",
        "large": folder / "large.jpg",
    }
    photos["turned"].write_bytes(with_orientation(ASTRONAUT.read_bytes(), 6))
    with Image.open(CAT) as cat:
        cat.resize((20, 14), Image.Resampling.BOX).save(photos["tiny"])
        cat.resize(LARGE, Image.Resampling.NEAREST).save(photos["large"], quality=90)
    return photos


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file, its pixels untouched, with an EXIF block that says how it is to be turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    block = exif.tobytes()  # begins with "Exif", as the file wants it
    start, rest = jpeg[:2], jpeg[2:]
    return start + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + rest
