import json
import struct
import time
import tomllib

import numpy as np
import onnx
import pytest
from hypothesis import find, given, settings
from safetensors.numpy import load, save

from mrnn.errors import DataError
from tests.faults import sandbox
from tests.faults.mutations import (
    TOML_VALUES,
    Mutated,
    json_mutations,
    line_mutations,
    mutations,
    onnx_mutations,
    tensor_mutations,
    toml_mutations,
    unpack,
)
from tests.faults.sandbox import ODD_FILES, Sandbox, check_mutations, odd_file
from tests.model.tiny_encoder import write_colour_encoder


def refuse(message):
    raise DataError(message)


def raise_bare(message):
    """An error whose message is as it was given."""
    error = DataError("a")
    error.args = (message,)
    raise error


def outcome(load, *names):
    with Sandbox(load, *names) as box:
        return box.attempt()


def test_what_loads_and_what_is_refused_in_a_line_is_well():
    assert outcome(lambda: 5) == ""
    assert outcome(lambda: refuse("a.json: wrong"), "a.json") == "a.json: wrong"


@pytest.mark.parametrize(
    ("load", "fault"),
    [
        (lambda: refuse("wrong"), "names none of"),
        (lambda: raise_bare("a.json: two\nlines"), "not one printable line"),
        (lambda: raise_bare("a.json" + " x" * 999), "2004 characters"),
        (lambda: [][0], "IndexError"),
        (lambda: np.ones(2**31).sum(), "MemoryError"),
        (lambda: exit(3), "SystemExit"),
        (lambda: __import__("os")._exit(3), "the process died: 3"),
    ],
)
def test_a_fault_is_found(load, fault):
    with pytest.raises(AssertionError, match=fault):
        outcome(load, "a.json")


def test_what_takes_too_long_is_found_and_the_next_case_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "SECONDS", 0.3)
    slow = tmp_path / "slow"
    slow.touch()
    with Sandbox(lambda: time.sleep(9) if slow.exists() else None) as box:
        with pytest.raises(AssertionError, match=r"more than 0\.3 seconds"):
            box.attempt()
        slow.unlink()
        assert box.attempt() == ""


def test_a_loader_without_care_is_caught_and_the_file_is_whole_again(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"size": 5}')
    with pytest.raises(AssertionError, match=r"JSONDecodeError|KeyError|UnicodeDecodeError"):
        check_mutations(file, lambda: json.loads(file.read_text())["size"], file, cases=50)
    assert file.read_text() == '{"size": 5}'


def test_a_loader_that_reads_nothing_is_caught(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a\n")
    with pytest.raises(AssertionError, match="is the file read at all"):
        check_mutations(file, lambda: None, file, cases=20)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_files_are_made_and_taken_away(tmp_path, kind):
    file = tmp_path / "a.json"
    file.write_text("{}")
    with odd_file(file, kind):
        assert file.is_file() is (kind == "empty")
        assert file.exists() is (kind not in ("absent", "loop", "dangling"))
    assert file.read_text() == "{}"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


# Mutations reach what they are made for


def some(strategy, what):
    find(
        strategy.map(Mutated),
        what,
        settings=settings(max_examples=3000, database=None, derandomize=True),
    )


def test_mutated_json_has_odd_values_and_doubled_keys():
    strategy = json_mutations(b'{"format": 1, "table": {"sizes": [5, 6]}}')
    for text in (b"NaN", b"1e400", b"[[[[", b'"format": 1, "format"', b'{"value": 5}', b"5000000"):
        some(strategy, lambda found, text=text: text in found)


def test_values_of_toml_are_toml():
    good = 0
    for value in TOML_VALUES:
        try:
            good += "value" in tomllib.loads(f"value = {value}")
        except (ValueError, RecursionError):
            assert value in ("", "9223372036854775808", r'"\u0000"') or len(value) > 100
    assert good > len(TOML_VALUES) / 2


def test_mutated_toml_and_lines():
    for text in (b"size = nan", b"[[model]]", b"size = 5\nsize = 5"):
        some(toml_mutations(b"[model]\nsize = 5\n"), lambda found, text=text: text in found)
    for text in (b"a\na\n", b"b\na", b"\xff\xfe"):
        some(line_mutations(b"a\nb\n"), lambda found, text=text: text in found)


def test_mutated_safetensors_often_load_and_are_wrong():
    content = save({"a": np.ones((2, 3), np.float16), "b": np.ones(4, np.int32)}, {"header": "{}"})
    strategy = tensor_mutations(content)
    some(strategy, lambda found: loads(found).get("a", np.ones(1)).dtype == np.int32)
    some(strategy, lambda found: not loads(found).get("a", np.ones(1)).any())
    some(strategy, lambda found: np.isnan(loads(found).get("a", np.ones(1))).any())
    some(strategy, lambda found: loads(found).get("a", np.ones(1)).shape == (6,))
    some(strategy, lambda found: struct.unpack("<Q", found[:8])[0] > 2**40)
    header, data = unpack(content)
    assert set(header) == {"__metadata__", "a", "b"}
    assert len(data) == 28


def loads(content):
    try:
        return load(content)
    except Exception:
        return {}


def test_mutated_graphs_are_graphs(tmp_path):
    content = write_colour_encoder(tmp_path / "colour.onnx").read_bytes()
    strategy = onnx_mutations(content)
    some(strategy, lambda found: b"../../../etc/passwd" in found)
    some(strategy, lambda found: b"ConstantOfShape" in found)
    some(strategy, lambda found: onnx.ModelProto.FromString(found).opset_import[0].version == 99)


@settings(max_examples=50, database=None)
@given(mutations("a.unknown", b"some text\nof two lines"))
def test_any_file_can_be_mutated(mutated):
    assert isinstance(mutated, bytes)


def test_the_memory_of_a_reader_is_bounded(tmp_path):
    """A sparse file of 4 GB is told about, as all other things are."""
    file = tmp_path / "a.txt"
    with file.open("wb") as stream:
        stream.truncate(2**32)
    with pytest.raises(AssertionError, match="MemoryError"):
        outcome(lambda: file.read_bytes(), file)
