"""Where ONNX Runtime for browsers comes from."""

import hashlib
import io
import tarfile

import pytest

from mrnn.errors import DataError, OptionsError
from mrnn.server import onnxruntime_web
from mrnn.server.onnxruntime_web import CHECKSUMS, PACKAGE, read_runtime

FILES = {name: f"// {name}".encode() for name in CHECKSUMS}


@pytest.fixture
def known(monkeypatch):
    """The checksums are those of `FILES`."""
    known = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(onnxruntime_web, "CHECKSUMS", known)


def package_of(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def read(source):
    told = []
    return read_runtime(source, told.append), told


def test_of_a_package(known, tmp_path):
    (tmp_path / "a.tgz").write_bytes(package_of({**FILES, "ort.js": b"other"}))
    assert read(tmp_path / "a.tgz") == (FILES, [])


@pytest.mark.parametrize("below", ["node_modules/onnxruntime-web/dist", "dist", "."])
def test_of_a_folder(known, tmp_path, below):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (tmp_path / below / name).write_bytes(content)
    assert read(tmp_path) == (FILES, [])


def test_of_the_registry(known, monkeypatch):
    monkeypatch.setattr(
        onnxruntime_web.urllib.request,
        "urlopen",
        lambda url, timeout: io.BytesIO(package_of(FILES)),
    )
    files, (line,) = read(None)
    assert files == FILES
    assert line.startswith("Fetching onnxruntime-web 1.30.0, 33 MB, from https://registry.npmjs")


def test_without_a_network(monkeypatch):
    def fail(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr(onnxruntime_web.urllib.request, "urlopen", fail)
    line = rf"^{PACKAGE} cannot be fetched \(no route to host\); get it with: npm pack "
    with pytest.raises(DataError, match=line):
        read(None)


def test_of_nothing(tmp_path):
    with pytest.raises(OptionsError, match=r"--ort \S+/none does not exist; get it with: npm pack"):
        read(tmp_path / "none")
    with pytest.raises(OptionsError, match=r"has no ort\.wasm\.min\.mjs of onnxruntime-web 1"):
        read(tmp_path)
    (tmp_path / "a.tgz").write_bytes(b"no package")
    with pytest.raises(OptionsError, match=r"--ort \S+/a\.tgz is no package of npm"):
        read(tmp_path / "a.tgz")


def test_of_another_version(tmp_path):
    (tmp_path / "a.tgz").write_bytes(package_of(FILES))
    with pytest.raises(OptionsError, match=r"ort\.wasm\.min\.mjs is not that of onnxruntime-web 1"):
        read(tmp_path / "a.tgz")
