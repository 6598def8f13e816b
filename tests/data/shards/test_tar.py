import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.shards import tar
from mrnn.data.shards.tar import add_to_tar, new_tar, read_tar, tar_key
from mrnn.errors import DataError
from tests.data.shards.photos import photo, write_tar


def read(file):
    with file.open("rb") as stream:
        return list(read_tar(stream, str(file)))


def test_photos_by_their_keys_in_the_order_of_the_file(tmp_path):
    members = [
        ("b/z.jpg", photo(1)),
        ("b/z.txt", b"text"),
        ("./a.PNG", photo(2)),
        ("c.json", b"{}"),
    ]
    found = read(write_tar(tmp_path / "x.tar", members))
    assert [(each.key, each.suffix) for each in found] == [("b/z", ".jpg"), ("a", ".png")]
    assert [each.content for each in found] == [photo(1), photo(2)]


def test_what_is_no_photo_is_passed_over(tmp_path):
    members = [("._a.jpg", b"x"), ("a.seg.png", photo()), ("d.npy", b"x"), ("e", b"x")]
    with tarfile.open(write_tar(tmp_path / "x.tar", members), "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            link = tarfile.TarInfo("link.jpg")
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    assert read(tmp_path / "x.tar") == []


def test_webdataset_reads_the_same_keys(tmp_path):
    """By its rule, taken from webdataset.tariterators.base_plus_ext."""
    import re

    for name in ("a.jpg", "v1.2/a.jpg", "x/y/a.png", "é b.jpg"):
        key = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name)[1]
        (found,) = read(write_tar(tmp_path / "x.tar", [(name, photo())]))
        assert found.key == key


@pytest.mark.parametrize("content", [b"", b"not a tar" * 200, b"\xff\xd8\xff" * 999])
def test_no_tar(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar: no tar file \(.*\); make shards with mrnn shard"):
        read(tmp_path / "x.tar")


def test_a_tar_that_is_cut_gives_the_photos_before_the_cut(tmp_path):
    whole = write_tar(tmp_path / "x.tar", [(f"{n}.png", photo(n)) for n in range(9)]).read_bytes()
    file, counts = tmp_path / "cut.tar", set()
    for end in range(512, len(whole.rstrip(b"\0")) + 512, 512):
        file.write_bytes(whole[:end])
        found = []
        with file.open("rb") as stream, pytest.raises(DataError, match=r"no tar|cut short after"):
            gather(read_tar(stream, "x"), found)
        assert found == [photo(number) for number in range(len(found))]
        counts.add(len(found))
    assert counts == set(range(10))


def gather(photos, found):
    """Keeps what was read before an error."""
    found.extend(each.content for each in photos)


def test_a_photo_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_BYTES", 500)
    (found, other) = read(write_tar(tmp_path / "x.tar", [("a.jpg", b"x" * 501), ("b.jpg", b"x")]))
    assert found.error == "larger than 500 bytes; make a smaller copy"
    assert other.content == b"x"


@given(st.lists(st.text(st.characters(codec=None), max_size=9), unique=True))
def test_paths_have_keys_of_their_own_without_dots(paths):
    keys = list(map(tar_key, paths))
    assert len(set(keys)) == len(paths)
    for key in keys:
        assert "." not in key.rpartition("/")[2]
        assert not key.startswith("/")
        assert not {".", ".."} & set(key.split("/"))


def test_usual_paths_are_their_own_keys():
    assert tar_key("2024/Ferien in Österreich/IMG_1") == "2024/Ferien in Österreich/IMG_1"
    assert tar_key("v1.2/my.photo") == "v1.2/my%2Ephoto"
    assert tar_key("caf\udce9") == "caf%E9"


def test_the_same_files_give_the_same_bytes(tmp_path):
    one, other = tmp_path / "1", tmp_path / "2"
    for file in (one, other):
        with file.open("wb") as stream, new_tar(stream) as archive:
            add_to_tar(archive, "é" * 120 + ".jpg", photo())
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(one) as archive:
        (member,) = archive
    assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
