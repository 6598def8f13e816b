import pickle
import shutil
import sys
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrnn.data.shards import shard as module
from mrnn.data.shards.shard import find_shards, is_list, is_shard, part_of
from mrnn.errors import DataError, MissingExtraError, OptionsError
from tests.data.shards.photos import photo, write_tar


@pytest.fixture
def shards(tmp_path):
    """A folder with three tars of two photos."""
    for number in range(3):
        names = (f"{number}-a.png", f"{number}-b.png")
        write_tar(tmp_path / f"s-{number}.tar", [(name, photo(number)) for name in names])
    return tmp_path


def keys(shard):
    return [each.key for each in shard.photos(pytest.fail)]


def test_globs_folders_and_files(shards):
    for given in ([f"{shards}/s-*.tar"], [str(shards)], [f"{shards}/s-{n}.tar" for n in range(3)]):
        found = find_shards(given)
        assert [each.name for each in found] == ["s-0", "s-1", "s-2"]
        assert [keys(each) for each in found] == [[f"{n}-a", f"{n}-b"] for n in range(3)]
    assert len(find_shards([str(shards), f"{shards}/s-1.tar"])) == 3


def test_parquet(tmp_path):
    pq.write_table(pa.table({"image": [photo(0), photo(1)]}), tmp_path / "x.parquet")
    (found,) = find_shards([str(tmp_path)])
    assert (found.name, keys(found)) == ("x", ["000000000", "000000001"])


def test_lists_become_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PHOTOS", 2)
    (tmp_path / "x.lst").write_text("a.png\nb.png\nc.png\n")
    found = find_shards([f"{tmp_path}/x.lst"])
    assert [each.name for each in found] == ["x-000000", "x-000001"]
    assert [[key for key, _ in each.entries] for each in found] == [["a.png", "b.png"], ["c.png"]]


def test_a_folder_of_metadata_is_named_by_the_folder(tmp_path):
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "metadata.jsonl").write_text('{"file_name": "a.png"}')
    (tmp_path / "birds" / "a.png").write_bytes(photo())
    for given in ("birds", "birds/metadata.jsonl"):
        (found,) = find_shards([f"{tmp_path}/{given}"])
        assert (found.name, keys(found)) == ("birds-000000", ["a.png"])


def test_parts_have_each_shard_once(shards):
    found = find_shards([str(shards)])
    for count in range(1, 6):
        parts = [part_of(found, (number, count)) for number in range(1, count + 1)]
        assert sorted(chain(*parts), key=lambda each: each.name) == found
        assert len(parts[0]) - len(parts[-1]) <= 1


def test_two_photos_of_one_key(tmp_path):
    members = [("a.png", photo(0)), ("b.png", photo(1)), ("a.jpg", photo(2))]
    write_tar(tmp_path / "x.tar", members)
    (shard,) = find_shards([str(tmp_path)])
    told = []
    assert [each.content for each in shard.photos(told.append)] == [photo(0), photo(1)]
    assert told == [f"{tmp_path}/x.tar: two photos have the key a; the first is taken"]


def test_a_stamp_tells_a_shard_from_another(shards, tmp_path):
    stamps = {each.stamp() for each in find_shards([str(shards)])}
    (tmp_path / "x.txt").write_text("a.png\nb.png\n")
    (tmp_path / "y.txt").write_text("a.png\nc.png\n")
    stamps |= {find_shards([f"{tmp_path}/{name}.txt"])[0].stamp() for name in "xy"}
    assert len(stamps) == 5


def test_other_machines_can_be_sent_a_shard(shards):
    shard = find_shards([str(shards)])[0]
    assert pickle.loads(pickle.dumps(shard)) == shard


def test_names_of_shards():
    names = ["a/*.tar", "s3://b/x.TAR", "http://h/x.parquet?y=1", "a.jpg", "a.tar.gz", "x.txt"]
    assert list(map(is_shard, names)) == [True, True, True, False, False, False]
    names = ["a.txt", "b.lst", "b/metadata.jsonl", "captions.jsonl", "a.tar"]
    assert list(map(is_list, names)) == [True, True, True, False, False]


def test_two_shards_of_one_name(shards):
    (shards / "other").mkdir()
    shutil.copy(shards / "s-0.tar", shards / "other")
    with pytest.raises(OptionsError, match=r"Two shards have the name s-0: .*; give each its own"):
        find_shards([f"{shards}/s-0.tar", f"{shards}/other/s-0.tar"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none-*.tar", r"none-\*\.tar: no shard matches; make some with mrnn shard"),
        ("empty", r"empty: holds no shards, which are \*\.tar, \*\.parquet or metadata\.jsonl"),
        ("a.jpg", r"a\.jpg: not a shard; expected \.tar, \.parquet, metadata\.jsonl, or a list"),
        ("blank.txt", r"blank\.txt: names no photo; expected one a line"),
    ],
)
def test_what_holds_no_shard(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(DataError, match=message):
        find_shards([f"{tmp_path}/{name}"])


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\)"):
        find_shards([str(tmp_path)])


def test_parquet_needs_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"Parquet .* Run: pip install 'mrnn\[scale\]'"):
        find_shards([f"{tmp_path}/x.parquet"])
