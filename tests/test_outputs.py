import errno
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mrnn import outputs
from mrnn.errors import DataError, OptionsError
from mrnn.locks import held
from mrnn.outputs import (
    ASIDE,
    COMMIT,
    STAGED,
    check_new_folder,
    check_output,
    finish_replacement,
    folder_aside,
    is_page,
    new_folder,
    replace_together,
    write_whole,
    written_aside,
)


@pytest.fixture(autouse=True)
def _swept(monkeypatch):
    monkeypatch.setattr(outputs, "_swept", set())


# One file


@pytest.mark.parametrize("content", ["an émigré\n", b"\x00\xff"])
def test_a_file_is_written_and_replaced(tmp_path, content):
    file = tmp_path / "a b.txt"
    for _ in range(2):
        write_whole(file, content)
        assert file.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_an_interrupted_write_leaves_what_was_there(tmp_path, problem):
    file = tmp_path / "figures.json"
    file.write_text("old")

    def interrupted():
        with written_aside(file) as stream:
            stream.write(b"new and lon")
            raise problem

    with pytest.raises(type(problem)) as caught:
        interrupted()
    if isinstance(problem, OSError):
        assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_what_was_there(tmp_path, limited):
    file = tmp_path / "figures.json"
    file.write_text("old")
    with pytest.raises(OSError, match="File too large") as caught, limited(100):
        write_whole(file, bytes(200))
    assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "no" / "file", b"")
    assert caught.value.filename == str(tmp_path / "no" / "file")


def test_a_name_as_long_as_names_may_be(tmp_path):
    file = tmp_path / ("n" * 255)
    write_whole(file, "text")
    assert file.read_text() == "text"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("untouched")
    file = tmp_path / "link"
    file.symlink_to(tmp_path / "victim")
    write_whole(file, "new")
    assert not file.is_symlink()
    assert (tmp_path / "victim").read_text() == "untouched"


def test_permissions_are_those_of_the_file_or_of_the_user(tmp_path):
    file = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write_whole(file, "")
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        file.chmod(0o604)
        write_whole(file, "new")
        assert stat.S_IMODE(file.stat().st_mode) == 0o604
    finally:
        os.umask(before)


WRITE = """
import sys
from pathlib import Path
from mrnn.outputs import folder_aside, written_aside
with written_aside(Path(sys.argv[1], "file")) as stream, folder_aside(Path(sys.argv[1])) as folder:
    (folder / "part").write_text("part")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    command = [sys.executable, "-c", WRITE, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        write_whole(tmp_path / "other", "")
        assert len(list(tmp_path.glob(f"{ASIDE}*"))) == 2  # it is at work
        process.send_signal(signal.SIGKILL)
    outputs._swept.clear()
    write_whole(tmp_path / "other", "")
    assert os.listdir(tmp_path) == ["other"]


def test_leftovers_are_not_removed_through_links(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / f"{ASIDE}1").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "file", "")
    assert (tmp_path / "victim").is_dir()


def test_a_write_aside_that_was_swept_before_it_was_locked_starts_again(tmp_path, monkeypatch):
    calls = []

    def swept_once(stream):
        calls.append(stream)
        if len(calls) == 1:
            os.unlink(stream.name)
        return True

    monkeypatch.setattr(outputs, "try_lock", swept_once)
    write_whole(tmp_path / "file", "text")
    assert os.listdir(tmp_path) == ["file"]
    assert len(calls) == 2


# Several files


def test_several_files_are_replaced(tmp_path):
    for turn in (b"1", b"2"):
        replace_together(tmp_path, {"a": turn, "b": turn * 2})
        assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"a": turn, "b": turn * 2}


def test_interrupted_anywhere_all_are_old_or_all_new(tmp_path, monkeypatch):
    """Kills before each change of a file; the next reader finds one state or the other."""
    changes = ("open", "unlink", "replace")
    real = {name: getattr(Path, name) for name in changes} | {"os": os.replace}
    for stop in range(40):
        folder = tmp_path / str(stop)
        folder.mkdir()
        replace_together(folder, {"a": b"old", "b": b"old"})
        left = [stop]

        def stopping(call, left=left):
            def stopped(*arguments, **options):
                if left[0] == 0:
                    raise SystemExit
                left[0] -= 1
                return call(*arguments, **options)

            return stopped

        monkeypatch.setattr(os, "replace", stopping(real["os"]))
        for name in changes:
            monkeypatch.setattr(Path, name, stopping(real[name]))
        # A killed process cleans nothing up.
        monkeypatch.setattr(outputs, "_discard", lambda staged: None)
        with suppress(SystemExit):
            replace_together(folder, {"a": b"new", "b": b"new"})
        monkeypatch.undo()
        finish_replacement(folder)
        both = {(folder / name).read_bytes() for name in ("a", "b")}
        assert len(both) == 1, stop
        outputs._swept.clear()
        replace_together(folder, {"a": b"3", "b": b"3"})
        assert sorted(os.listdir(folder)) == ["a", "b"], stop
        if left[0]:
            assert both == {b"new"}
            return
    raise AssertionError("never done")


def test_a_write_that_fails_discards_what_is_staged(tmp_path, limited):
    with pytest.raises(OSError, match="File too large"), limited(100):
        replace_together(tmp_path, {"a": b"1", "b": bytes(200)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"no JSON",
        b"3",
        b'[["a", "b"]]',
        json.dumps([[f"{STAGED}1", "../b"]]).encode(),
        json.dumps([[f"{STAGED}/../../etc", "b"]]).encode(),
        json.dumps([[f"{STAGED}1", ""]]).encode(),
        b"[" * 100_000,
        b'[[1, "b"]]',
    ],
)
def test_a_list_of_names_that_is_not_ours_moves_nothing(tmp_path, content):
    (tmp_path / COMMIT).write_bytes(content)
    (tmp_path / "a").write_text("a")
    with pytest.raises(DataError, match=rf"{COMMIT}: not written by mrnn; remove it"):
        finish_replacement(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [COMMIT, "a"]


def test_a_replacement_that_cannot_be_finished(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "full").touch()
    (tmp_path / f"{STAGED}1").touch()
    (tmp_path / COMMIT).write_text(json.dumps([[f"{STAGED}1", "a"]]))
    with pytest.raises(DataError, match="an interrupted write cannot be finished"):
        finish_replacement(tmp_path)


# A folder


def test_a_folder_aside_is_there_for_its_block(tmp_path):
    with folder_aside(tmp_path / "new") as folder:
        (folder / "bundle").mkdir()
        (folder / "bundle").rename(tmp_path / "bundle")
    assert (tmp_path / "bundle").is_dir()
    assert list((tmp_path / "new").iterdir()) == []

    def interrupted():
        with folder_aside(tmp_path / "new") as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_new_folder_is_whole_or_absent(tmp_path):
    out = tmp_path / "new" / "bundle"

    def interrupted():
        with new_folder("--out", out) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []
    with new_folder("--out", out) as folder:
        (folder / "whole").touch()
    assert [path.name for path in out.iterdir()] == ["whole"]
    (tmp_path / "new" / f"{ASIDE}1").mkdir()  # left by a kill
    outputs._swept.clear()
    with pytest.raises(OptionsError, match=r"--out .*bundle exists; name a new folder"):
        check_new_folder("--out", out)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bundle"]


def test_a_folder_at_work_is_no_leftover(tmp_path):
    folder = tmp_path / f"{ASIDE}1"
    folder.mkdir()
    with held(folder):
        write_whole(tmp_path / "a", "")
        assert folder.is_dir()


# What may be replaced


def ours(start):
    return start.startswith(b"ours")


@pytest.mark.parametrize("content", [None, b"", b"ours, of last week"])
def test_a_free_name_an_empty_file_and_an_earlier_output(tmp_path, content):
    file = tmp_path / "out.csv"
    if content is not None:
        file.write_bytes(content)
    check_output("--out", file, ours=ours)
    assert file.exists() == (content is not None)
    assert all(path == file for path in tmp_path.iterdir())


def test_the_file_of_another_tool_stays_unless_it_may_go(tmp_path):
    file = tmp_path / "out.csv"
    file.write_bytes(b"theirs")
    with pytest.raises(OptionsError, match=r"--out .*out\.csv exists and is not .*--overwrite"):
        check_output("--out", file, ours=ours)
    with pytest.raises(OptionsError, match="exists and is not"):
        check_output("--out", file)
    check_output("--out", file, overwrite=True)


@pytest.mark.parametrize("link", ["same", "symlink", "hard", "dots"])
def test_an_input_is_no_output(tmp_path, link):
    file, out = tmp_path / "in.csv", tmp_path / "out.csv"
    file.write_bytes(b"ours")
    if link == "symlink":
        out.symlink_to(file)
    elif link == "hard":
        os.link(file, out)
    else:
        out = file if link == "same" else tmp_path / ".." / tmp_path.name / "in.csv"
    with pytest.raises(OptionsError, match="is an input of this command"):
        check_output("--out", out, ours=ours, inputs=[tmp_path / "no", file], overwrite=True)


def test_an_input_that_is_not_there_is_no_output(tmp_path):
    with pytest.raises(OptionsError, match="is an input of this command"):
        check_output("--out", tmp_path / "a", inputs=[tmp_path / "." / "a"])


def test_what_is_no_place_for_a_file(tmp_path):
    with pytest.raises(OptionsError, match="is a folder; name a file in it"):
        check_output("--out", tmp_path)
    with pytest.raises(OptionsError, match=r"there is no folder .*make it first"):
        check_output("--out", tmp_path / "no" / "file")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OptionsError, match="is not a plain file"):
        check_output("--out", tmp_path / "fifo", overwrite=True)


def test_a_folder_that_takes_no_file_is_known_before(tmp_path, monkeypatch):
    def refuse(self, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        outputs.check_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_page_is_known_as_ours():
    assert is_page(b'<!doctype html><meta charset="utf-8"><meta name="generator" content="mrnn">')
    assert not is_page(b"<!doctype html><title>mrnn</title>")
