"""Watching folders: in processes of their own, with real photos and signals."""

import importlib
import json
import os
import queue
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from mrnn.cli.terminal import tell
from tests.cli.processes import start
from tests.conftest import lines_of

SECONDS = 60
"""What a slow machine may take for anything."""


@pytest.fixture
def photo(tmp_path):
    """A photo to copy, outside of what is watched."""
    Image.new("RGB", (300, 200), "red").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def watched(tmp_path, photo):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "first.png")
    return folder


class Watch:
    """A running `mrnn watch`, and the lines that it has printed."""

    def __init__(self, *arguments):
        self.process = start("watch", *arguments)
        self.lines = queue.Queue()
        self.told = []
        for stream, take in (
            (self.process.stdout, self.lines.put), (self.process.stderr, self.told.append)
        ):  # fmt: skip
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()

    @staticmethod
    def _read(stream, take):
        for line in stream:
            take(line.rstrip("\n"))

    def next_name(self):
        """The name of the next photo that is printed as JSON."""
        return Path(json.loads(self.lines.get(timeout=SECONDS))["image"]).name

    def wait_for(self, ready):
        deadline = time.monotonic() + SECONDS
        while not ready():
            assert self.process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(timeout=SECONDS)


@pytest.fixture
def running():
    """Starts watches, and kills what a failed test leaves."""
    begun = []

    def begin(*arguments):
        begun.append(Watch(*arguments))
        return begun[-1]

    yield begin
    for each in begun:
        each.process.kill()
        each.process.wait()
        each.process.stdout.close()
        each.process.stderr.close()


def test_what_is_there_then_what_arrives_until_stopped(running, model, watched, photo):
    each = running(watched, "--model", model, "--json", "--exclude", "raw/")
    assert each.next_name() == "first.png"
    assert each.told == [f"Watching {watched}; stop with Ctrl-C"]
    (watched / "sub" / "raw").mkdir(parents=True)
    (watched / "@eaDir").mkdir()
    for name in ("notes.txt", ".hidden.png", "@eaDir/a.png", "sub/raw/a.png", "sub/é.png"):
        shutil.copy(photo, watched / name)
    assert each.next_name() == "é.png"
    shutil.move(photo, watched / "moved.png")
    assert each.next_name() == "moved.png"
    assert each.stop(signal.SIGINT) == 0
    assert each.lines.empty()
    assert each.told == [f"Watching {watched}; stop with Ctrl-C"]


def test_a_photo_that_is_being_copied_is_waited_for(running, model, watched, photo):
    content = photo.read_bytes()
    each = running(watched, "--model", model, "--json")
    each.next_name()
    with (watched / "slow.png").open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        (watched / "gone.png").write_bytes(content[:50])
        time.sleep(2.5)  # longer than a photo takes to settle
        (watched / "gone.png").unlink()
        file.write(content[len(content) // 2 :])
    assert each.next_name() == "slow.png"
    assert each.stop() == 0
    assert each.lines.empty()
    assert len(each.told) == 1


def test_outputs_go_on_and_are_done_once(running, model, watched, photo, tmp_path, mrnn):
    out = tmp_path / "out.csv"
    options = ("--model", model, "--out", out, "--sidecar", "--xmp")
    each = running(watched, *options)
    each.wait_for((watched / "first.xmp").exists)
    code, _, err = mrnn("caption", watched, "--model", model, "--out", out)
    assert (code, err) == (
        1, f"mrnn: {out} is being written by another mrnn; wait until it is done\n"
    )  # fmt: skip
    assert each.stop() == 0
    before = out.read_bytes()
    again = running(watched, *options)
    again.wait_for(lambda: len(again.told) == 2)
    shutil.copy(photo, watched / "second.png")
    again.wait_for((watched / "second.xmp").exists)
    again.wait_for(lambda: out.read_bytes().count(b"\n") == 3)
    assert again.stop() == 0
    assert out.read_bytes().startswith(before)
    assert again.told[:2] == [
        f"{out}: 1 photo is done already", f"Watching {watched}; stop with Ctrl-C"
    ]  # fmt: skip
    assert sorted(path.name for path in watched.glob("*.txt")) == ["first.txt", "second.txt"]


def when_told(monkeypatch, start, do):
    """Calls `do` once a line that begins so is told."""
    for name in ("watch", "caption_outputs"):
        module = importlib.import_module(f"mrnn.cli.{name}")

        def tell_and_do(line):
            tell(line)
            if str(line).startswith(start):
                do()

        monkeypatch.setattr(module, "tell", tell_and_do)


def test_a_photo_that_cannot_be_read_is_told_in_the_end(mrnn, model, watched, monkeypatch):
    (watched / "bad.png").write_bytes(b"no photo")
    monkeypatch.setattr("mrnn.data.photos.arrivals.PATIENCE", 1.0)
    when_told(monkeypatch, f"{watched}/bad.png", lambda: os.kill(os.getpid(), signal.SIGTERM))
    code, out, err = mrnn("watch", watched, "--model", model, "--json")
    assert code == 0
    assert [Path(each["image"]).name for each in lines_of(out)] == ["first.png", "bad.png"]
    assert f"{watched}/bad.png: not a" in err
    assert err.endswith("could not be captioned\n")


def test_folders_that_go_away(mrnn, model, watched, monkeypatch):
    when_told(monkeypatch, "Watching", lambda: shutil.rmtree(watched))
    code, _, err = mrnn("watch", watched, "--model", model)
    assert code == 1
    assert err.endswith(
        f"{watched} is gone; start again when it is back\n"
        "mrnn: all folders are gone; start again when they are back\n"
    )


def test_a_device_that_is_not_there(mrnn, model, watched, monkeypatch):
    monkeypatch.setattr("mrnn.model.devices.available_devices", lambda: ["cpu"])
    code, out, told = mrnn("watch", watched, "--model", model, "--device", "cuda")
    assert (code, out) == (1, "")
    assert told.startswith("mrnn: --device cuda: this onnxruntime has cpu; ")


def test_what_the_system_cannot_watch(mrnn, model, watched, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "OS file watch limit reached")
        yield

    monkeypatch.setattr("watchfiles.watch", fail)
    code, _, err = mrnn("watch", watched, "--model", model)
    assert (code, err) == (
        1, "mrnn: the system cannot watch these folders (OS file watch limit reached); give fewer, "
        "or set WATCHFILES_FORCE_POLLING=1\n",
    )  # fmt: skip


def test_many_photos_are_captioned_a_few_at_a_time_until_told_to_stop(tmp_path):
    photos, stop, parts = [tmp_path / str(number) for number in range(20)], threading.Event(), []

    def caption(part, advance):
        parts.append(len(part))
        if len(parts) == 2:
            stop.set()

    caption_all = importlib.import_module("mrnn.cli.watch")._caption_all
    caption_all(photos, caption, stop)
    assert parts == [8, 8]
    caption_all(photos[:3], caption, stop)
    assert parts == [8, 8, 3]
