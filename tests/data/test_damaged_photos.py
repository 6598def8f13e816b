"""Files of each format, mutated: whatever they hold, there is RGB or an ImageError."""

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mrnn.data.images import load_image
from mrnn.errors import ImageError
from tests.data.heic_photos import ALPHA, PLAIN, TURNED
from tests.data.photo_files import RED, encoded, half_red_half_blue, photo


def _wholes():
    noise, plain = photo((48, 32)), half_red_half_blue()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        yield encoded(noise, kind, exif=exif)
    for kind in ("PNG", "GIF", "WEBP", "MPO", "TIFF", "AVIF"):
        yield encoded(noise, kind, save_all=True, append_images=[noise.rotate(180)])
    for kind in ("BMP", "PPM", "JPEG2000"):
        yield encoded(noise, kind)
    yield encoded(noise, "JPEG", progressive=True)
    yield encoded(noise.convert("CMYK"), "JPEG")
    yield encoded(noise.convert("P"), transparency=bytes([0, 9]))
    yield encoded(plain, transparency=RED)
    yield encoded(plain, "WEBP", lossless=True)
    yield encoded(plain, "JPEG2000", no_jp2=True)
    yield encoded(Image.fromarray(np.asarray(noise)[:, :, 0].astype(np.uint16) * 255))
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits", "zstd", "lzma"):
        yield encoded(noise, "TIFF", compression=compression, tiffinfo={274: 6})
    for mode in ("I", "F", "P", "CMYK", "LAB"):
        yield encoded(noise.convert(mode), "TIFF")
    yield encoded(noise.convert("1"), "TIFF", compression="group4")
    yield encoded(noise, "TIFF", big_tiff=True)
    yield from (PLAIN, TURNED, ALPHA)


WHOLES = tuple(_wholes())


@st.composite
def damaged(draw):
    """A file cut, changed at some places, or put together of two."""
    source = bytearray(draw(st.sampled_from(WHOLES)))
    for _ in range(draw(st.integers(1, 6))):
        near = draw(st.booleans())  # headers are where most can go wrong
        place = draw(st.integers(0, max(0, min(len(source), 200 if near else 10**9) - 1)))
        kind = draw(st.sampled_from(("flip", "flip", "bytes", "insert", "delete", "cut", "join")))
        if kind == "flip" and source:
            source[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "bytes":
            value = draw(st.sampled_from((b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1")))
            source[place : place + len(value)] = value
        elif kind == "insert":
            source[place:place] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "delete":
            del source[place : place + draw(st.integers(1, 40))]
        elif kind == "cut":
            del source[place:]
        elif kind == "join":
            source[place:] = draw(st.sampled_from(WHOLES))[place:]
    return bytes(source)


def check(source, least_side):
    begun, loaded, problem = time.monotonic(), None, ""
    try:
        loaded = load_image(source, least_side=least_side)
    except ImageError as error:
        problem = str(error)
    if loaded is None:
        assert problem.startswith("image bytes: ")
        assert problem.isprintable()
        assert len(problem) <= 300
    else:
        assert type(loaded) is Image.Image
        assert (loaded.mode, loaded.info) == ("RGB", {})
    assert time.monotonic() - begun < 60


sides = st.sampled_from((None, 10, 1000))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(damaged(), sides)
def test_damaged_files(source, least_side):
    check(source, least_side)


@pytest.mark.slow
@settings(
    max_examples=5000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(damaged(), sides)
def test_many_damaged_files(source, least_side):
    check(source, least_side)


@pytest.mark.parametrize("whole", WHOLES, ids=range(len(WHOLES)))
def test_files_with_garbage_behind_them_are_whole(whole):
    assert load_image(whole + b"garbage" * 100).size == load_image(whole).size


@pytest.mark.parametrize("whole", WHOLES, ids=range(len(WHOLES)))
def test_files_of_which_a_quarter_is_there_are_not(whole):
    with pytest.raises(ImageError, match=r"cut short|damaged"):
        load_image(whole[: max(30, len(whole) // 4)])


BOMBS = """
    import io, struct, sys, zlib
    from PIL import Image
    from tests.data.photo_files import SIGNATURE, chunk, encoded, photo, png_header, with_chunk

    def png(width, height, depth, colours, samples):
        row = bytes(1 + (width * samples * depth + 7) // 8)
        data = zlib.compressobj(1)
        parts = [data.compress(row) for _ in range(height)]
        size = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
        pixels = b"".join(parts) + data.flush()
        return SIGNATURE + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")

    def bomb(name):
        if name == "header":
            return png_header(1, 100_000_000)
        if name == "text":
            text = zlib.compress(bytes(500_000_000), 1)
            return with_chunk(encoded(photo()), chunk(b"zTXt", b"a\\0\\0" + text))
        if name == "transparent":
            return png(10_000, 10_000, 8, 6, 4)
        if name == "16 bits":
            return png(10_000, 10_000, 16, 0, 1)
        if name == "strip":
            return png(100, 1_000_000, 8, 2, 3)
        frames = [Image.new("L", (9, 9), place % 256) for place in range(2000)]
        return encoded(frames[0], name, save_all=True, append_images=frames[1:])
"""

MEASURED = """
    import resource, time
    from mrnn.data.images import load_image
    from mrnn.errors import ImageError
    from mrnn.model.preprocessing import crops_of

    load_image(encoded(photo()))
    file = sys.argv[1]
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        photo = load_image(file, least_side=288)
        for mode in ("squash", "pad", "crop"):
            crops_of(photo, 288, mode, (0, 0, 0))
    except ImageError as error:
        print(error, file=sys.stderr)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
    print(time.monotonic() - begun)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"),
    [
        *(("header", 10**8), ("text", 10**8), ("GIF", 10**8), ("TIFF", 10**8), ("WEBP", 10**8)),
        *(("transparent", 10**9), ("16 bits", 10**9), ("strip", 10**9)),
    ],
)
def test_memory_and_time_have_bounds(tmp_path, name, most):
    def run(program, *arguments):
        program = textwrap.dedent(BOMBS) + textwrap.dedent(program)
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    file = str(tmp_path / "bomb")
    run("open(sys.argv[1], 'wb').write(bomb(sys.argv[2]))", file, name)
    taken, seconds = map(float, run(MEASURED, file).split())
    assert taken < most
    assert seconds < 120
