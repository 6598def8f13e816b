import os
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import pytest

from mrnn.data.shards import locations
from mrnn.data.shards.locations import (
    base_name,
    expand,
    is_url,
    open_location,
    read_location,
    shown,
    stamp_of,
)
from mrnn.errors import DataError, MissingExtraError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """The folder tmp_path, on a server of this machine: its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def bucket():
    """A file system in memory: its address."""
    files = fsspec.filesystem("memory")
    yield "memory://bucket"
    files.store.clear()


def test_urls():
    found = [is_url(each) for each in ("s3://a/b", "http://a/b", "C:/photos", "a/b://c")]
    assert found == [True, True, False, False]


def test_names_keep_no_secrets():
    assert shown("http://me:word@host:80/a.tar?signature=1") == "http://host:80/a.tar"
    assert shown("a\nb.tar") == "a\\nb.tar"


def test_base_names():
    assert base_name("/a/b.tar") == base_name("http://h/a/b.tar?x=/y") == "b.tar"


def test_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b-1.tar", "b-0.tar", "c.tar", "[x].tar"):
        (tmp_path / name).touch()
    assert expand("b-*.tar") == ["b-0.tar", "b-1.tar"]
    assert expand("[x].tar") == ["[x].tar"]
    assert expand("nothing*.tar") == []
    assert expand("not-there.tar") == ["not-there.tar"]
    assert expand("http://h/{a}/x-{08..11}.tar") == [
        f"http://h/{{a}}/x-{n:02}.tar" for n in range(8, 12)
    ]
    assert expand("{0..1}/{8..10}") == ["0/8", "0/9", "0/10", "1/8", "1/9", "1/10"]


@pytest.mark.parametrize("pattern", ["{5..3}.tar", "{0..999999999}.tar"])
def test_ranges_that_are_none(pattern):
    with pytest.raises(DataError, match=r"\.tar: \{.*\} is no range; write \{000\.\.999\}"):
        expand(pattern)


@pytest.mark.parametrize("place", ["path", "file", "http", "memory"])
def test_the_same_file_from_everywhere(tmp_path, served, bucket, place):
    content = bytes(range(256)) * 1000
    (tmp_path / "a.tar").write_bytes(content)
    with fsspec.open(f"{bucket}/a.tar", "wb") as stream:
        stream.write(content)
    location = {
        "path": str(tmp_path / "a.tar"), "file": f"file://{tmp_path}/a.tar",
        "http": f"{served}/a.tar", "memory": f"{bucket}/a.tar",
    }[place]  # fmt: skip
    assert read_location(location, len(content)) == content
    with open_location(location) as stream:
        assert stream.read(3) == content[:3]
    assert stamp_of(location) == stamp_of(str(tmp_path / "a.tar"))
    with pytest.raises(DataError, match=r"a\.tar: larger than 9 bytes; make it smaller"):
        read_location(location, 9)
    with pytest.raises(DataError, match=r"b\.tar: no such file"):
        read_location(location.replace("a.tar", "b.tar"), 9)


def test_globs_of_urls(bucket):
    for name in ("b.tar", "a.tar", "c.txt"):
        with fsspec.open(f"{bucket}/{name}", "wb") as stream:
            stream.write(b"x")
    assert expand(f"{bucket}/*.tar") == ["memory:///bucket/a.tar", "memory:///bucket/b.tar"]


def test_stamps_tell_files_apart(tmp_path):
    contents = [b"", b"a", b"b", b"ab", b"a" * 100_000, b"a" * 100_001]
    stamps = set()
    for content in contents:
        (tmp_path / "x").write_bytes(content)
        stamps.add(stamp_of(str(tmp_path / "x")))
    assert len(stamps) == len(contents)


def test_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: not a plain file; save it to a file first"):
        read_location(str(tmp_path / "pipe"), 9)
    with pytest.raises(DataError, match="a folder; name the files in it"):
        read_location(str(tmp_path), 9)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.tar", "nonsense://a/b.tar"])
def test_an_address_that_cannot_be_reached(url):
    with pytest.raises(DataError, match=rf"^{url}: cannot be (read|reached) \(.+\)$"):
        read_location(url, 9)


def test_a_file_system_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"s3://b/a\.tar: Install s3fs to access S3"):
        read_location("s3://b/a.tar", 9)


def test_urls_need_an_extra(monkeypatch):
    locations._fsspec.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"fsspec\. Run: pip install 'mrnn\[scale\]'"):
        read_location("http://a/b", 9)
    locations._fsspec.cache_clear()
