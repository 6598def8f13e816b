"""Modules of the static page, run by Node and held to what Python does."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image, features

from mrnn.data.images import load_image
from mrnn.server.static_site import BROWSER
from mrnn.tokenizer import join_words
from tests.example_photos import ASTRONAUT, with_orientation

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")
LEAST_SIDE = 60
"""So that the photos below are decoded smaller by 1, 2, 4 and 8."""
READ = """
import { readFileSync, writeFileSync } from "node:fs";
import { takeOrientation, upright } from "./photo.js";
import { decodeJpeg } from "./jpeg.js";
import { resize } from "./resize.js";
import { joinWords } from "./words.js";
const told = JSON.parse(readFileSync(0, "utf8"));
"""


@pytest.fixture
def node(tmp_path):
    """Runs code that has `told`, what is given, and the modules' functions; its output as JSON."""
    folder = tmp_path / "modules"
    shutil.copytree(BROWSER, folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(code, told):
        (folder / "run.mjs").write_text(f"{READ}\nconsole.log(JSON.stringify({code}));")
        command = [NODE, folder / "run.mjs"]
        done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def photo_of(width, height):
    with Image.open(ASTRONAUT) as image:
        return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def same(found, image):
    expected = np.asarray(image.convert("RGB"))
    assert (found["height"], found["width"]) == expected.shape[:2]
    assert np.array_equal(np.array(found["rgb"]), expected.ravel())


@pytest.mark.parametrize(
    ("before", "after"), [((37, 53), (16, 16)), ((200, 30), (64, 64)), ((5, 5), (32, 20))]
)
def test_resize_is_that_of_pillow(node, before, after):
    image = photo_of(*before)
    told = {"width": image.width, "height": image.height, "rgb": list(image.tobytes())}
    code = f"""(({{ rgb, width, height }}) => {{
        const made = resize({{ rgb: Uint8Array.from(rgb), width, height }}, {after[0]}, {after[1]});
        return {{ ...made, rgb: [...made.rgb] }};
    }})(told)"""
    same(node(code, told), image.resize(after, Image.Resampling.BICUBIC))


JPEGS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"subsampling": 2, "progressive": True},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
    "coarse": {"quality": 8, "progressive": True},
    "grey": {"grey": True},
}


@pytest.mark.skipif(not features.check("libjpeg_turbo"), reason="Pillow has another libjpeg")
@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("size", [(99, 75), (130, 141), (251, 249), (500, 483)])
def test_jpegs_are_decoded_as_by_pillow(node, tmp_path, kind, size):
    how = dict(JPEGS[kind])
    photo = photo_of(*size)
    photo = photo.convert("L") if how.pop("grey", False) else photo
    file = tmp_path / "photo.jpg"
    photo.save(file, **how)
    code = """(({ file, leastSide }) => {
        const by = (w, h) => [8, 4, 2].find((each) => each * leastSide <= Math.min(w, h)) ?? 1;
        const made = decodeJpeg(new Uint8Array(readFileSync(file)), by);
        return { ...made, rgb: [...made.rgb] };
    })(told)"""
    found = node(code, {"file": str(file), "leastSide": LEAST_SIDE})
    same(found, load_image(file, least_side=LEAST_SIDE))


def test_orientations_are_undone_as_in_python(node, tmp_path):
    files = []
    photo_of(24, 17).save(tmp_path / "plain.jpg")
    for orientation in range(1, 9):
        files.append(str(tmp_path / f"{orientation}.jpg"))
        content = with_orientation((tmp_path / "plain.jpg").read_bytes(), orientation)
        (tmp_path / f"{orientation}.jpg").write_bytes(content)
    code = """told.map((file) => {
        const bytes = new Uint8Array(readFileSync(file));
        const orientation = takeOrientation(bytes);
        const made = upright(decodeJpeg(bytes, () => 1), orientation);
        return { ...made, rgb: [...made.rgb], orientation, again: takeOrientation(bytes) };
    })"""
    for number, (file, found) in enumerate(zip(files, node(code, files), strict=True), start=1):
        assert (found["orientation"], found["again"]) == (number, 1)
        same(found, load_image(file))


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.9])
def test_a_jpeg_that_is_cut_short(node, tmp_path, kept):
    photo_of(99, 75).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: 2 + int(kept * len(content))])
    code = """(() => {
        try { decodeJpeg(new Uint8Array(readFileSync(told)), () => 1); return "read"; }
        catch (error) { return error.constructor.name; }
    })()"""
    assert node(code, str(tmp_path / "cut.jpg")) == "CutShort"


def test_words_are_joined_as_in_python(node):
    texts = [
        "a man 's dog does n't run", "a -lrb- red -rrb- car", "y' all can not be gon na go",
        "lem me in", "一 只 狗 dog", "a dog",
    ]  # fmt: skip
    told = [text.split() for text in texts]
    assert node("told.map(joinWords)", told) == [join_words(words) for words in told]
