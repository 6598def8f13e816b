"""Ctrl-C, kills, full disks and closed pipes: in processes of their own."""

import io
import os
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from PIL import Image

from mrnn.captioning import captioner
from mrnn.cli import main
from mrnn.model import image_encoder
from mrnn.model.image_encoder import OnnxEncoder
from tests.cli.processes import start
from tests.conftest import lines_of
from tests.model.tiny_encoder import write_colour_encoder


def interrupt_when(process, ready, number=signal.SIGINT):
    """Ctrl-C, or another signal, as soon as `ready()`; what was printed afterwards."""
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)


def test_ctrl_c_in_training_keeps_what_is_finished(mrnn, dataset, recipe, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", recipe, "--data", dataset, "--out", out]
    arguments += ["--set", "training.epochs=100000", "--set", "training.patience=100000"]
    process = start(*arguments)
    _, err = interrupt_when(process, (out / "config.json").exists)
    assert process.returncode == 130
    first, *told = [line for line in err.splitlines() if not line.startswith("Warning: ")]
    assert first.endswith("stop with Ctrl-C, go on with --resume")
    assert told == ["mrnn: interrupted; what was finished is kept"]
    photo = next((dataset.parent / "photos").iterdir())
    assert mrnn("caption", photo, "--model", out)[0] == 0


def test_ctrl_c_in_captioning_keeps_what_is_finished(mrnn, model, tmp_path):
    photos = tmp_path / "many"
    photos.mkdir()
    Image.new("RGB", (9, 9), "red").save(photos / "0000.png")
    for index in range(1, 1000):
        os.link(photos / "0000.png", photos / f"{index:04}.png")
    out = tmp_path / "captions.jsonl"
    process = start("caption", photos, "--model", model, "--out", out)
    _, err = interrupt_when(process, lambda: out.exists() and b"\n" in out.read_bytes())
    assert process.returncode == 130
    assert err == "mrnn: interrupted; what was finished is kept\n"
    results = lines_of(out.read_text())
    assert 1 <= len(results) < 1000
    assert [Path(r["image"]).name for r in results] == [f"{i:04}.png" for i in range(len(results))]
    some = sorted(photos.iterdir())[: len(results) + 3]
    code, _, err = mrnn("caption", *some, "--model", model, "--out", out)
    assert code == 0
    assert err == (
        f"{out}: {len(results)} photos are done already\nWrote {out}: 3 photos captioned\n"
    )
    assert [Path(r["image"]) for r in lines_of(out.read_text())] == some


def test_sigterm_leaves_no_more_than_ctrl_c(dataset, recipe, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", recipe, "--data", dataset, "--out", out]
    arguments += ["--set", "training.epochs=100000", "--set", "training.patience=100000"]
    process = start(*arguments)
    _, err = interrupt_when(process, (out / "config.json").exists, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == "mrnn: stopped; what was finished is kept"
    assert not [path for path in out.rglob("*") if path.name.startswith(".mrnn-new")]


def caption_slowly(photos, model, out):
    """In a process of its own: groups of two photos, 20 ms a photo."""
    captioner.LEAST_GROUP = captioner.LARGEST_GROUP = 2
    image_encoder.SHIPPED, preprocess = Path(tempfile.mkdtemp()), OnnxEncoder.preprocess
    write_colour_encoder(image_encoder.SHIPPED / "colour.onnx")
    OnnxEncoder.preprocess = lambda self, photo: time.sleep(0.02) or preprocess(self, photo)
    options = ["--model", str(model), "--out", str(out), "--n-best", "2"]
    sys.argv = ["mrnn", "caption", str(photos), *options]
    sys.stderr = io.StringIO()
    main()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_captioning_killed_at_ten_random_moments_ends_as_if_left_alone(
    killed, colours, model, tmp_path, suffix
):
    photos, whole, moments = tmp_path / "photos", tmp_path / f"whole{suffix}", random.Random(0)
    assert not killed(60, caption_slowly, photos, model, whole)
    kills = 0
    for attempt in range(20):
        out = tmp_path / f"left-{attempt}{suffix}"
        while killed(moments.uniform(0, 0.3 + kills / 50), caption_slowly, photos, model, out):
            kills += 1  # the longest moment grows, as a busy machine may do nothing in the first
        assert out.read_bytes() == whole.read_bytes()
        if kills >= 10:
            break
    assert kills >= 10


def fails_with_one_line(process, problem):
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    told = [line for line in err.splitlines() if not line.endswith("go on with --resume")]
    assert len(told) == 1
    assert re.fullmatch(rf"mrnn: .*: {problem}", told[0])


def test_a_disk_that_fills_up_in_captioning(model, album, tmp_path):
    out = tmp_path / "captions.jsonl"
    process = start("caption", album, "--model", model, "--out", out, limit=700)
    fails_with_one_line(process, "File too large")
    assert out.stat().st_size == 700


def test_a_disk_that_fills_up_in_training(dataset, recipe, tmp_path):
    process = start("train", recipe, "--data", dataset, "--out", tmp_path / "r", limit=1000)
    fails_with_one_line(process, "File too large")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("kind", ["caption --json", "check"])
def test_output_that_cannot_be_written(model, album, dataset, kind):
    arguments = [dataset] if kind == "check" else [album, "--model", model]
    with Path("/dev/full").open("w") as full:
        process = start(*kind.split(), *arguments, stdout=full)
        fails_with_one_line(process, "No space left on device")


def test_a_reader_that_goes_away_is_no_reason_to_complain(model, album):
    process = start("caption", album, "--model", model)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.returncode == 1
    assert process.stderr.read() == ""
    process.stderr.close()
