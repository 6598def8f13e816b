import json
import os

import pytest

from mrnn.bulk.formats import Format
from mrnn.bulk.job import Finished, OutputFolder
from mrnn.errors import DataError, OptionsError
from mrnn.locks import locked
from mrnn.model.config import RerankingOptions


@pytest.fixture
def job(caption_task):
    return caption_task().job


@pytest.fixture
def folder(job, tmp_path):
    folder = OutputFolder(tmp_path / "out", job)
    folder.agree()
    return folder


def finished(stamp, **more):
    return Finished(stamp=stamp, photos=3, failed=0, **more)


def test_a_job_goes_on_with_itself(folder, job, tmp_path):
    OutputFolder(tmp_path / "out", job.model_copy(update={"mrnn": "later"})).agree()
    assert os.listdir(tmp_path / "out") == [".mrnn"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"holds": "embeddings"}, "holds captions, not embeddings"),
        ({"model": "0123"}, r"is of another model \([0-9a-f]{16}, not 0123\)"),
        ({"files": Format.tar}, "was made with --format parquet, not tar"),
        ({"with_images": True}, "was made with --with-images False, not True"),
        ({"device": "cuda"}, "was made with --device cpu, not cuda"),
        ({"consensus": "self"}, "was made with --consensus None, not self"),
        (
            {"reranking": RerankingOptions(thing_weight=2)},
            r"was made with --thing-weight 0\.0, not 2\.0",
        ),
    ],
)
def test_another_job_is_refused(folder, job, tmp_path, change, told):
    other = OutputFolder(tmp_path / "out", job.model_copy(update=change))
    with pytest.raises(OptionsError, match=f"out {told}; give another folder, or remove this one"):
        other.agree()


def test_a_folder_of_something_else_is_refused(job, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").touch()
    with pytest.raises(DataError, match=r"mine holds something else, 'a\.txt'; give another "):
        OutputFolder(folder, job).agree()
    with pytest.raises(DataError, match=r"a\.txt is a file; give a folder"):
        OutputFolder(folder / "a.txt", job).agree()


def test_a_job_of_another_format_is_refused(folder, job, tmp_path):
    later = job.model_dump(mode="json") | {"format": 2, "new_option": 0}
    (tmp_path / "out" / ".mrnn" / "job.json").write_text(json.dumps(later))
    problem = r"format 2; this version of mrnn reads 1; upgrade mrnn, or give another folder"
    with pytest.raises(DataError, match=problem):
        folder.agree()


def test_two_that_begin_a_job_wait_for_each_other(job, tmp_path, monkeypatch):
    file = tmp_path / "out" / ".mrnn" / "job.json"
    file.parent.mkdir(parents=True)
    lock = locked(file)
    lock.__enter__()
    monkeypatch.setattr("time.sleep", lambda _: lock.__exit__(None, None, None))
    OutputFolder(tmp_path / "out", job).agree()
    assert file.exists()


def test_a_result_counts_when_it_is_said_to_be_whole(folder):
    assert folder.finished("s", "1") is None
    folder.result("s").touch()
    assert folder.finished("s", "1") is None
    folder.finish("s", finished("1"))
    assert folder.finished("s", "1") == finished("1")
    folder.result("s").unlink()
    assert folder.finished("s", "1") is None


def test_a_result_of_another_shard_is_refused(folder):
    folder.result("s").touch()
    folder.finish("s", finished("1"))
    with pytest.raises(DataError, match="is of another shard named s; give another folder, or re"):
        folder.finished("s", "2")


def test_a_damaged_shard_may_be_mended(folder):
    folder.result("s").touch()
    folder.finish("s", finished("1", damaged=True))
    assert folder.finished("s", "1").damaged
    assert folder.finished("s", "2") is None


def test_results_are_named_by_shard_and_format(job, tmp_path):
    names = [
        OutputFolder(tmp_path, job.model_copy(update={"files": kind})).result("s-1").name
        for kind in Format
    ]
    assert names == ["s-1.parquet", "s-1.tar", "s-1.jsonl", "s-1"]


def test_one_writer_a_shard(folder):
    second = folder.lock("a")
    told = pytest.raises(DataError, match="is being written by another mrnn")
    with folder.lock("a"), folder.lock("b"), told:
        second.__enter__()
