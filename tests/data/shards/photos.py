"""Photos and shards that tests write."""

import io
import tarfile

import numpy as np
from PIL import Image


def photo(number=0, kind="PNG"):
    """The bytes of a small photo; another for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def write_tar(file, members):
    """A tar of names and contents, as other tools write them."""
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file
