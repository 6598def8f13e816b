import json
import os
import shutil
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mrnn.errors import MeasureError
from mrnn.metrics import meteor as module
from mrnn.metrics.meteor import Meteor, find_jar, meteor

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
HYPOTHESES = [sentence.split() for sentence in GOLDEN["hypotheses"]]
REFERENCES = [[sentence.split() for sentence in image] for image in GOLDEN["references"]]

ONE = [6, 6, 3, 3, 3, 3, 2, 2, *[0] * 12, 2, 5, 5]
"""What Java counts in "a dog runs in the grass" beside "a dog runs on the grass"."""


@pytest.fixture
def java(tmp_path):
    """A fake java: gives what runs the lines of Python that it is to be."""

    def write(code):
        program = tmp_path / "java"
        program.write_text(f"#!{sys.executable}\nimport sys\n{textwrap.dedent(code)}")
        program.chmod(0o755)
        return Meteor(str(program), tmp_path / "meteor.jar")

    return write


needs_scripts = pytest.mark.skipif(os.name != "posix", reason="a fake program is a script")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="METEOR needs Java, and there is none")
def test_equals_the_reference_scorer():
    with closing(Meteor()) as program:
        statistics = program.statistics(HYPOTHESES, REFERENCES)
    np.testing.assert_allclose(meteor(statistics), GOLDEN["meteor"], rtol=0, atol=1e-9)
    (corpus,) = meteor(statistics.sum(axis=0, keepdims=True))
    assert corpus == pytest.approx(GOLDEN["corpus_meteor"], rel=0, abs=1e-9)


def test_score_of_statistics():
    rows = np.array([ONE, [0] * 23, [2, 2, 1, 1, 1, 1, 1, 1, *[0] * 12, 0, 2, 2]], dtype=float)
    share = (0.75 * 3 + 0.25 * 2) / (0.75 * 3 + 0.25 * 3)  # precision and recall alike
    first = share * (1 - 0.6 * (2 / 5) ** 0.2)
    assert meteor(rows).tolist() == pytest.approx([first, 0, 1])


@needs_scripts
def test_one_process_answers_every_question(java):
    numbers = " ".join(map(str, ONE))
    code = f"""
        sys.stderr.write("started\\n")
        for number, line in enumerate(sys.stdin):
            assert line == "SCORE ||| a dog ||| the dog ||| dog |\\n", line
            print({numbers!r}.replace("2 5 5", f"{{number}} 5 5"), flush=True)
    """
    with closing(java(code)) as program:
        for start in (0, 2):
            rows = program.statistics(
                [["dog", "|", "|||"][:2]] * 2, [[["a", "dog"], ["the", "dog"]]] * 2
            )
            assert rows[:, 20].tolist() == [start, start + 1]


@needs_scripts
def test_a_caption_that_is_all_one_chunk_has_none(java):
    numbers = " ".join(map(str, [2, 2, 1, 1, 1, 1, 1, 1, *[0] * 12, 1, 2, 2]))
    with closing(java(f"for line in sys.stdin: print({numbers!r}, flush=True)")) as program:
        rows = program.statistics([["a", "dog"]], [[["a", "dog"]]])
    assert rows[:, 20].tolist() == [0]
    assert meteor(rows).tolist() == [1]


@needs_scripts
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "sys.exit('first\\nUnsupportedClassVersionError: too old')",
            r"code 1 \(Unsupp.* too old\)",
        ),
        ("sys.stdin.readline(); sys.exit(3)", r"Java ended with code 3 \(no message\)$"),
        ("for line in sys.stdin: print('1 2 3', flush=True)", r"Java answered '1 2 3'$"),
        ("for line in sys.stdin: print('what', flush=True)", r"Java answered 'what'$"),
        ("import time; time.sleep(60)", r"Java gave no answer for 1 s$"),
    ],
)
def test_a_java_that_fails_says_why(java, code, reason, monkeypatch):
    monkeypatch.setattr(module, "FIRST_SECONDS", 1.0 if "sleep" in code else 60.0)
    with (
        closing(java(code)) as program,
        pytest.raises(MeasureError, match=r"^METEOR failed: .*" + reason),
    ):
        program.statistics([["a"]] * 3, [[["a"]]] * 3)


@needs_scripts
def test_a_java_that_cannot_run(java, tmp_path):
    program = java("")
    (tmp_path / "java").write_text("#!/nowhere/at/all\n")
    with closing(program), pytest.raises(MeasureError, match=r"^METEOR failed: .*: No such file"):
        program.statistics([["a"]], [[["a"]]])


def test_no_java():
    with pytest.raises(
        MeasureError, match=r"^METEOR needs Java, and there is no 'no-such-java'; in"
    ):
        Meteor("no-such-java")


def test_no_program(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MeasureError, match=r"^METEOR is not installed; pip install 'mrnn\[meteor\]'"
    ):
        find_jar()
