import logging
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from PIL import Image, TiffImagePlugin

from mrnn.data.image_files.pillow_messages import without_messages
from mrnn.data.images import load_image
from tests.data.photo_files import encoded, photo

TRUNCATED = b"Exif\0\0MM\0*\0\0\0\x08\0\5\1\x12"


def damaged_exif():
    exif = Image.Exif()
    exif.load(TRUNCATED)
    return exif.get(0x0112)


def test_pillow_warns_but_not_while_we_read():
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        damaged_exif()
    with without_messages():
        damaged_exif()
        Image._decompression_bomb_check((10_000, 9_000))
    load_image(encoded(photo(), "JPEG", exif=TRUNCATED))
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        damaged_exif()
    with pytest.warns(Image.DecompressionBombWarning):
        Image._decompression_bomb_check((10_000, 9_000))


def test_another_thread_is_warned_while_we_read():
    begun, warned = Barrier(2), Barrier(2)

    def read():
        with without_messages():
            begun.wait(60)
            warned.wait(60)
            damaged_exif()

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        begun.wait(60)
        with pytest.warns(UserWarning, match="Corrupt EXIF data") as told:
            damaged_exif()
        warned.wait(60)
        reading.result()
    assert len(told) == 1


def test_the_rest_of_warnings_is_there():
    with without_messages():
        assert vars(TiffImagePlugin)["warnings"].catch_warnings is warnings.catch_warnings


def test_pillow_does_not_log_to_stderr():
    with without_messages():
        assert logging.getLogger("PIL").handlers


@pytest.mark.slow
def test_no_library_writes_lines_of_its_own():
    """In another process, whose stderr libraries written in C have as well."""
    program = """
        import random
        import warnings
        from contextlib import suppress
        from mrnn.data.images import load_image
        from mrnn.errors import ImageError
        from tests.data.heic_photos import ALPHA, PLAIN
        from tests.data.photo_files import encoded, photo

        warnings.simplefilter("always")
        kinds = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
        wholes = [encoded(photo(), kind) for kind in kinds] + [ALPHA, PLAIN]
        for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "lzma", "zstd"):
            wholes += [encoded(photo(), "TIFF", compression=compression)] * 3
        chance = random.Random(0)
        for _ in range(1500):
            source = bytearray(chance.choice(wholes))
            for _ in range(chance.choice((1, 3, 9))):
                source[chance.randrange(len(source))] = chance.randrange(256)
            with suppress(ImageError):
                load_image(bytes(source[: chance.choice((None, None, len(source) // 2))]))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stderr == done.stdout == ""
