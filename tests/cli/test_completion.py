"""What the shell offers when a user types the tab key."""

import os
import subprocess
import sys

import pytest


def completions(words):
    """The words that bash is offered in place of the last one; and which modules that took."""
    environment = os.environ | {
        "_MRNN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-X", "importtime", "-m", "mrnn"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return done.stdout.split(), modules


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mrnn", "ca"], ["caption"]),
        (["mrnn", "caption", "--n-b"], ["--n-best"]),
        (["mrnn", "search", "--js"], ["--json"]),
    ],
)
def test_commands_and_options_are_completed_at_once(words, expected):
    offered, modules = completions(words)
    assert offered == expected
    assert modules & {"numpy", "onnxruntime", "torch", "PIL"} == set()


def test_completion_can_be_installed(mrnn):
    code, out, _ = mrnn("--help")
    assert code == 0
    assert "--install-completion" in out
    assert out.startswith("Usage: mrnn ")
