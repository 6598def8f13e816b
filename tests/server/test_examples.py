"""The examples of docs/how-to/serve.md, with the model that ships."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.server.service import Service
from tests.server.conftest import running

ROOT = Path(__file__).parents[2]
PYTHON = """
import httpx

with httpx.Client(base_url="http://127.0.0.1:8080") as client:
    photo = Path("examples/coffee.jpg").read_bytes()
    answer = client.post("/v1/caption", params={"n_best": 3}, content=photo)
    answer.raise_for_status()
    for caption in answer.json()["captions"]:
        print(f"{caption['log_probability']:.2f} {caption['text']}")
"""


@pytest.fixture(scope="module")
def address():
    with running(Service(Captioner.load(), "1")) as server:
        yield server.url.rstrip("/")


def test_the_example_in_python(address, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(PYTHON.replace("http://127.0.0.1:8080", address), {"Path": Path})
    captions = capsys.readouterr().out.splitlines()
    assert len(captions) == 3
    assert all(re.fullmatch(r"-\d+\.\d\d [a-z ]*coffee[a-z ]*", line) for line in captions)


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_examples_with_curl(address):
    page = (ROOT / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")
    commands = re.findall(r"^curl .*$", page, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        asked = command.replace("http://127.0.0.1:8080", address)
        done = subprocess.run(asked + " --silent --fail", shell=True, cwd=ROOT, capture_output=True)
        assert done.returncode == 0
        assert b"coffee" in done.stdout
