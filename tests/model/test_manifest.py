import hashlib
import json

import pytest

from mrnn.errors import CheckpointError
from mrnn.model.manifest import FORMAT, MANIFEST, check_manifest, write_manifest


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    (folder / "encoders").mkdir(parents=True)
    (folder / "config.json").write_text("{}\n")
    (folder / "encoders" / "a.onnx").write_bytes(b"\0\1")
    write_manifest(folder, "0.1.0")
    return folder


def refused(folder, message):
    with pytest.raises(CheckpointError) as error:
        check_manifest(folder)
    told = str(error.value)
    assert told.isprintable()
    assert told.replace(f"{folder}/", "") == message


def test_it_holds_the_checksum_of_each_file(bundle):
    manifest = json.loads((bundle / MANIFEST).read_text())
    assert manifest == {
        "format": FORMAT,
        "mrnn": "0.1.0",
        "files": {
            "config.json": hashlib.sha256(b"{}\n").hexdigest(),
            "encoders/a.onnx": hashlib.sha256(b"\0\1").hexdigest(),
        },
    }
    check_manifest(bundle)


def test_the_same_files_have_the_same_manifest(bundle):
    before = (bundle / MANIFEST).read_bytes()
    write_manifest(bundle, "0.1.0")
    assert (bundle / MANIFEST).read_bytes() == before


def test_a_folder_without_one_is_no_bundle(tmp_path):
    check_manifest(tmp_path)


def test_files_beside_those_of_the_bundle_do_not_matter(bundle):
    (bundle / "notes.txt").write_text("mine")
    check_manifest(bundle)


def test_a_file_that_is_missing(bundle):
    (bundle / "encoders" / "a.onnx").unlink()
    refused(bundle, "encoders/a.onnx is missing; copy the bundle again")


@pytest.mark.parametrize("content", [b"\0\2", b"", b"\0\1\0"])
def test_a_file_that_was_changed(bundle, content):
    (bundle / "encoders" / "a.onnx").write_bytes(content)
    refused(bundle, "encoders/a.onnx was changed since its export; copy the bundle again")


NEWER = "this version of mrnn reads 1; upgrade mrnn, or export the model again"
START = '{"format": 1, "mrnn": "1", "files": '
AGAIN = "; copy the bundle again"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", ":1: not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ('{"format": 1, "mrnn": "1"}', ": files is missing"),
        (START + '{"a": 3}}', ": files.a: expected text, not 3"),
        (START + '{"a": "12"}}', ": files.a: expected text of the form ^[0-9a-f]{64}$, not '12'"),
        (START + '{"a": "12", "a": "13"}}',
         ": not JSON that is used here (the key 'a' is there twice)"),
        (START + f'{{"../a": "{"0" * 64}"}}}}', " names a file outside its folder, '../a'"),
        (START + f'{{"/etc/a": "{"0" * 64}"}}}}', " names a file outside its folder, '/etc/a'"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none(bundle, content, message):
    (bundle / MANIFEST).write_text(content)
    refused(bundle, f"{MANIFEST}{message}{AGAIN}")


@pytest.mark.parametrize(("content", "found"), [("[]", None), ('{"format": 2}', 2)])
def test_a_manifest_of_another_format(bundle, content, found):
    (bundle / MANIFEST).write_text(content)
    refused(bundle, f"{MANIFEST}: format {found}; {NEWER}")
