"""`mrnn compare`."""

import json
import re

import pytest

pytestmark = pytest.mark.usefixtures("caption_files")


def test_compare_says_who_is_better_and_where(mrnn):
    code, out, _ = mrnn("compare", "a.json", "b.json", "r.json", "--no-meteor", "--top", "2")
    assert code == 0
    assert re.search(r"^CIDEr-D +\d\.\d{3} +\d\.\d{3} +[+-]\d\.\d{3} ", out, re.MULTILINE)
    line = r"^CIDEr-D: A is better by \d\.\d{3}, 95 % interval \d\.\d{3} to \d\.\d{3}$"
    assert re.search(line, out, re.MULTILINE)
    assert out.count("a red wall in the sun") == 2
    code, out, _ = mrnn("compare", "a.json", "a.json", "r.json", "--no-meteor")
    assert "CIDEr-D: no difference beyond chance, 95 % interval 0.000 to 0.000" in out
    assert "person/dog: no difference beyond chance, 95 % interval 0 to 0" in out
    assert "most ahead" not in out


def test_compare_as_json(mrnn):
    _, out, _ = mrnn("compare", "a.json", "b.json", "r.json", "--no-meteor", "--json")
    report = json.loads(out)
    assert list(report) == ["differences", "wins_a", "wins_b", "settings", "notes"]
    found = report["differences"]["cider"]
    assert found["difference"] == pytest.approx(found["a"] - found["b"])
    assert report["differences"]["meteor"] is None
    assert report["wins_a"][0]["b"] == "a red wall in the sun"
    assert report["wins_b"] == []


def test_a_file_that_is_not_there_is_one_line(mrnn):
    code, out, err = mrnn("compare", "a.json", "b.json", "a.txt")
    assert (code, out) == (1, "")
    assert err.startswith("mrnn: a.txt: cannot be read")
    assert err.count("\n") == 1
