import os
import signal
import subprocess
import sys

import pytest

from mrnn import locks
from mrnn.errors import DataError
from mrnn.locks import locked, locked_folder, try_lock

pytestmark = pytest.mark.skipif(not locks.HAS_LOCKS, reason="the system has no such locks")
HOLD = """
import sys
from pathlib import Path
from mrnn.locks import locked, locked_folder
with (locked if sys.argv[1] == "file" else locked_folder)(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(kind, path):
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, kind, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_there_is_one_writer_at_a_time(tmp_path, kind):
    lock = locked if kind == "file" else locked_folder
    path = tmp_path / ("n" * 255)
    with hold(kind, path) as other:
        told = "n is being written by another mrnn; wait until it is done"
        with pytest.raises(DataError, match=told), lock(path):
            raise AssertionError
        other.communicate()
    with lock(path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_lock_of_a_dead_process_is_no_obstacle(tmp_path, kind):
    lock = locked if kind == "file" else locked_folder
    with hold(kind, tmp_path / "out") as other:
        other.send_signal(signal.SIGKILL)
    assert any(name.startswith(locks.LOCK) for _, _, names in os.walk(tmp_path) for name in names)
    with lock(tmp_path / "out"):
        (tmp_path / "made").touch()
    left = [name for _, _, names in os.walk(tmp_path) for name in names]
    assert left == ["made"]


def test_two_names_of_one_file_have_one_lock(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with hold("file", tmp_path / "file") as other:
        with pytest.raises(DataError, match="link is being written"), locked(tmp_path / "link"):
            raise AssertionError
        other.communicate()


def test_a_lock_is_never_taken_through_a_link(tmp_path):
    (tmp_path / locks.LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), locked_folder(tmp_path):
        raise AssertionError
    assert not (tmp_path / "victim").exists()


def test_a_folder_that_stays_empty_is_not_left(tmp_path):
    with locked_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "kept").mkdir()
    with locked_folder(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").is_dir()


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """As when its owner ends between our opening it and our locking it."""
    tries = []

    def removed_once(descriptor):
        if not tries:
            (tmp_path / locks.LOCK).unlink()
        tries.append(descriptor)
        return try_lock(descriptor)

    monkeypatch.setattr(locks, "try_lock", removed_once)
    with locked_folder(tmp_path):
        assert (tmp_path / locks.LOCK).exists()
    assert len(tries) == 2


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HAS_LOCKS", False)
    with locked(tmp_path / "a"), locked(tmp_path / "a"):
        pass
    with locks.held(tmp_path):
        assert list(tmp_path.iterdir()) == []
