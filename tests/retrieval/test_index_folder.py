import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mrnn.retrieval.index_folder as index_folder
import mrnn.retrieval.index_writer as writing
from mrnn.errors import DataError, OptionsError
from mrnn.retrieval.index_folder import CONFIG, IndexConfig, read_index
from mrnn.retrieval.index_writer import PENDING, index_writer

HALF = np.dtype(np.float16)
FULL_DISK = (
    r"index cannot be written \(No space left on device\); mend that and run mrnn index again, "
    "which goes on where this run stopped$"
)


@pytest.fixture
def identity(colour_encoder):
    return colour_encoder.identity


def made_by(identity, **changes):
    config = IndexConfig(
        holds="photos", run="run", model="m", ranking="r", encoder=identity,
        generation=0, entries=0,
    )  # fmt: skip
    return config.model_copy(update=changes)


def write(folder, identity, entries, number=1.0, fail=None, approximate=False):
    """An index whose values are all `number`; gives which entries were new."""
    with index_writer(folder, made_by(identity, approximate=approximate), 3) as writer:
        new = [entry for entry in entries if entry not in writer.known]
        for entry in new:
            writer.add(entry, np.full(3, number, HALF))
            if entry == fail:
                raise KeyboardInterrupt
        writer.finish(entries, lambda part: np.full((len(entries[part]), 2), number, np.float32))
    return new


def test_what_is_written_is_read(tmp_path, identity):
    folder = tmp_path / "index"
    assert write(folder, identity, ['"a"', '"b"']) == ['"a"', '"b"']
    files = read_index(folder)
    assert files.entries == ['"a"', '"b"']
    assert files.values.tolist() == [[1, 1, 1]] * 2
    assert files.vectors.tolist() == [[1, 1]] * 2
    assert files.config.entries == 2
    assert isinstance(files.values, np.memmap)


def test_many_rows_are_written_in_blocks(tmp_path, identity, monkeypatch):
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 3)
    entries = [f'"{i}"' for i in range(10)]
    write(tmp_path / "index", identity, entries)
    assert read_index(tmp_path / "index").vectors.shape == (10, 2)


def test_the_new_is_added_and_the_gone_forgotten(tmp_path, identity):
    folder = tmp_path / "index"
    write(folder, identity, ['"a"', '"b"'])
    old = read_index(folder)
    assert write(folder, identity, ['"c"', '"b"'], number=2.0) == ['"c"']
    files = read_index(folder)
    assert files.entries == ['"c"', '"b"']
    assert files.values[:, 0].tolist() == [2, 1]
    assert old.values.tolist() == [[1, 1, 1]] * 2  # who opened the old index still has it
    assert len(list(folder.iterdir())) == 5


def test_what_somebody_keeps_beside_it_stays(tmp_path, identity):
    folder = tmp_path / "index"
    write(folder, identity, ['"a"'])
    (folder / "found.html").write_text("a page")
    (folder / "values-of-mine").mkdir()
    (folder / "graph-1.png").write_text("a picture")
    (folder / "vectors-1.npy.mrnn-new").write_text("left by a kill")
    write(folder, identity, ['"b"'])
    kept = {file.name for file in folder.iterdir()}
    assert kept >= {"found.html", "values-of-mine", "graph-1.png"}
    assert len(kept) == 8


def test_an_interrupted_run_loses_nothing_but_a_torn_line(tmp_path, identity):
    folder = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        write(folder, identity, ['"a"', '"b"', '"c"'], fail='"b"')
    with pytest.raises(DataError, match=r"is not an index; make one with mrnn index$"):
        read_index(folder)
    with (folder / PENDING).open("ab") as pending:
        pending.write(b'["\\"c\\"", "AA')
    assert write(folder, identity, ['"a"', '"b"', '"c"'], number=2.0) == ['"c"']
    assert read_index(folder).values[:, 0].tolist() == [1, 1, 2]
    assert not (folder / PENDING).exists()


def test_values_of_another_maker_are_not_taken_over(tmp_path, identity):
    folder = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        write(folder, identity, ['"a"', '"b"'], fail='"a"')
    other = identity.model_copy(update={"weights": "1" * 16})
    assert write(folder, other, ['"a"']) == ['"a"']
    assert write(folder, identity, ['"a"']) == ['"a"']


def test_a_reader_retries_while_files_are_replaced(tmp_path, identity, monkeypatch):
    folder = tmp_path / "index"
    write(folder, identity, ['"a"'])
    stale = index_folder._read_config(folder)
    write(folder, identity, ['"a"', '"b"'])
    answers = iter([stale, stale])
    real = index_folder._read_config
    monkeypatch.setattr(index_folder, "_read_config", lambda f: next(answers, None) or real(f))
    assert read_index(folder).entries == ['"a"', '"b"']


def test_a_full_disk_leaves_the_old_index(tmp_path, identity, monkeypatch):
    folder = tmp_path / "index"
    write(folder, identity, ['"a"'])
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(file, count, rows):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(writing, "_write_rows", full)
    with pytest.raises(DataError, match=FULL_DISK):
        write(folder, identity, ['"a"', '"b"'])
    after = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != PENDING}
    assert after == before


@pytest.fixture
def graph_folder(tmp_path, identity):
    pytest.importorskip("usearch", reason="the extra `approximate` is not installed")
    write(tmp_path / "index", identity, ['"a"', '"b"'], approximate=True)
    return tmp_path / "index"


def test_a_graph_comes_and_goes_with_the_index(graph_folder, identity):
    files = read_index(graph_folder)
    assert files.graph is not None
    assert len(files.graph) == 2
    write(graph_folder, identity, ['"a"', '"b"', '"c"'], approximate=True)
    assert len(read_index(graph_folder).graph) == 3
    (graph_folder / "graph-3.usearch").write_bytes(b"of a run that was killed")
    write(graph_folder, identity, ['"a"'])
    assert read_index(graph_folder).graph is None
    assert not list(graph_folder.glob("graph-*"))


def test_a_full_disk_at_the_graph_leaves_the_old_index(graph_folder, identity, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    before = sorted(graph_folder.iterdir())
    monkeypatch.setattr(writing.NeighbourGraph, "to_bytes", full)
    with pytest.raises(DataError, match=FULL_DISK):
        write(graph_folder, identity, ['"c"'], approximate=True)
    assert sorted(f for f in graph_folder.iterdir() if f.name != PENDING) == before
    assert read_index(graph_folder).entries == ['"a"', '"b"']


def test_without_the_extra_a_graph_is_refused_but_can_be_left_out(
    graph_folder, identity, monkeypatch
):
    monkeypatch.setattr("mrnn.retrieval.ann_index.find_spec", lambda _: None)
    with pytest.raises(OptionsError, match=r"^Approximate search needs: pip install"):
        read_index(graph_folder)
    write(graph_folder, identity, ['"a"', '"b"'])
    assert read_index(graph_folder).entries == ['"a"', '"b"']


def test_a_damaged_graph(graph_folder, identity):
    (graph_folder / "graph-1.usearch").write_bytes(b"")
    with pytest.raises(DataError, match=r"is damaged \(graph-1\.usearch: .*\); remove it and run"):
        read_index(graph_folder)
    write(graph_folder.parent / "other", identity, ['"a"'], approximate=True)
    (graph_folder.parent / "other" / "graph-1.usearch").rename(graph_folder / "graph-1.usearch")
    with pytest.raises(DataError, match=r"damaged \(graph-1\.usearch has 1 rows, not 2\)"):
        read_index(graph_folder)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_among_the_values_is_told_and_gone_on_from(tmp_path, identity):
    folder = tmp_path / "index"

    def fill():
        with index_writer(folder, made_by(identity), 3) as writer:
            writer.add('"a"', np.ones(3, HALF))
            with open("/dev/full", "wb") as full:
                os.dup2(full.fileno(), writer.pending.fileno())
            writer.add('"b"', np.ones(3, HALF))

    with pytest.raises(DataError, match=FULL_DISK):
        fill()
    assert write(folder, identity, ['"a"', '"b"']) == ['"b"']


@pytest.mark.parametrize(
    ("name", "opener"),
    [(CONFIG, "pathlib.Path.read_text"), ("vectors-1.npy", "numpy.lib.format.open_memmap")],
)
def test_files_without_permission(tmp_path, identity, name, opener, monkeypatch):
    def refuse(*_, **__):  # root may read everything, so chmod proves nothing
        raise PermissionError(13, "Permission denied", str(folder / name))

    folder = tmp_path / "index"
    write(folder, identity, ['"a"'])
    monkeypatch.setattr(opener, refuse)
    with pytest.raises(DataError, match=rf"index: no permission to read {name}; change that with"):
        read_index(folder)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from mrnn.model.config import EncoderIdentity
from tests.retrieval.test_index_folder import write
identity = EncoderIdentity.model_validate_json({identity!r})
number = 1
while True:
    entries = [f'"{{i}}"' for i in range(number % 7 + 1)]
    write(Path({folder!r}), identity, entries, float(number))
    number += 1
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_whatever_moment_it_is_killed_a_reader_sees_one_whole_index(tmp_path, identity):
    folder = tmp_path / "index"
    script = SCRIPT.format(
        tests=str(Path(__file__).parents[2]),
        folder=str(folder),
        identity=identity.model_dump_json(),
    )
    for delay in (0.1, 0.23):
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            try:
                while not (folder / CONFIG).exists():
                    assert process.poll() is None
                    time.sleep(0.01)
                end = time.monotonic() + delay
                while time.monotonic() < end:
                    files = read_index(folder)
                    assert len(files.entries) == len(files.values) == len(files.vectors)
                assert process.poll() is None
            finally:
                process.send_signal(signal.SIGKILL)
        files = read_index(folder)
        assert len(files.entries) == len(files.values) == files.config.entries
    write(folder, identity, ['"a"'])
    assert read_index(folder).entries == ['"a"']


def test_one_writer_at_a_time(tmp_path, identity):
    pytest.importorskip("fcntl")
    folder = tmp_path / "index"
    with (
        index_writer(folder, made_by(identity), 3),
        pytest.raises(DataError, match=r"is being written by another mrnn index; wait$"),
        index_writer(folder, made_by(identity), 3),
    ):
        pass


def test_a_writer_goes_on_from_what_another_left_just_before(tmp_path, identity, monkeypatch):
    folder = tmp_path / "index"
    write(folder, identity, ['"a"'])
    lock = writing._locked

    def late(folder):
        monkeypatch.setattr(writing, "_locked", lock)
        write(folder, identity, ['"a"', '"b"'])
        return lock(folder)

    monkeypatch.setattr(writing, "_locked", late)
    assert write(folder, identity, ['"a"', '"b"', '"c"']) == ['"c"']
    assert read_index(folder).config.generation == 3


def test_a_lock_that_fails_is_not_another_writer(tmp_path, identity, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(DataError, match=r"cannot be written \(No locks available\); mend that"):
        write(tmp_path / "index", identity, ['"a"'])


def test_a_folder_with_something_else_is_left_alone(tmp_path, identity):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"holds something else, 'letter\.txt'; choose another"):
        write(tmp_path, identity, ['"a"'])
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(DataError, match=r"Not a directory; choose another folder$"):
        write(tmp_path / "letter.txt", identity, ['"a"'])


def test_photos_and_sentences_do_not_mix(tmp_path, identity):
    folder = tmp_path / "index"
    write(folder, identity, ['"a"'])
    with (
        pytest.raises(DataError, match=r"is an index of photos, not of sentences; give another"),
        index_writer(folder, made_by(identity, holds="sentences"), 1),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config\.json cannot be read \(.*\); make an index in another .* if it was one$"),
        ('{"format": 2}', r"is not of an index of format 1, which this version reads; make one"),
        ("[]", r"is not of an index of format 1"),
        (
            '{"format": 1, "holds": "dust"}',
            r"is damaged \(config\.json: holds: Input should be .*\); remove it",
        ),
    ],
)
def test_a_bad_config(tmp_path, content, message):
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(DataError, match=message):
        read_index(tmp_path)


def test_damaged_files(tmp_path, identity):
    write(tmp_path, identity, ['"a"', '"b"'])
    (tmp_path / "vectors-1.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"is damaged \(.*\); remove it and run mrnn index again$"):
        read_index(tmp_path)
    write(tmp_path / "new", identity, ['"a"', '"b"'])
    (tmp_path / "new" / "entries-1.jsonl").write_text('"a"\n')
    with pytest.raises(DataError, match=r"is damaged \(1 entries, but config\.json says 2\)"):
        read_index(tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "matrix", "message"),
    [
        (
            "values-1.npy",
            np.zeros(2, HALF),
            r"values-1\.npy has shape \(2,\), but config\.json says 2",
        ),
        ("vectors-1.npy", np.zeros((3, 2), np.float32), r"vectors-1\.npy has shape \(3, 2\), but"),
        ("values-1.npy", np.zeros((2, 3), np.int16), r"values-1\.npy holds int16, not float16"),
        ("vectors-1.npy", np.zeros((2, 3)), r"vectors-1\.npy holds float64, not float32"),
    ],
)
def test_matrices_of_another_kind(tmp_path, identity, name, matrix, message):
    write(tmp_path, identity, ['"a"', '"b"'])
    np.save(tmp_path / name, matrix)
    with pytest.raises(
        DataError, match=rf"is damaged \({message}.*\); remove it and run mrnn index"
    ):
        read_index(tmp_path)


@pytest.mark.parametrize("size", [20, 250, 600])
def test_a_folder_without_room_is_named(tmp_path, identity, limited, size):
    """What was there is kept, and what was worked out before the disk was full."""
    folder = tmp_path / "index"
    write(folder, identity, ['"old"'])
    with (
        pytest.raises(DataError, match=rf"^{folder} cannot be written \(File too large\); mend"),
        limited(size),
    ):
        write(folder, identity, [f'"{n}"' for n in range(100)])
    assert read_index(folder).entries == ['"old"']
    assert len(write(folder, identity, [f'"{n}"' for n in range(100)])) <= 100
    assert read_index(folder).config.entries == 100
