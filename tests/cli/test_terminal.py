import io
import json
import re
import sys
import time

import pytest

from mrnn.cli import terminal
from mrnn.cli.terminal import print_json, progress, say, tell


def test_what_is_printed_beside_a_bar_goes_to_stdout(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    line = "photo.jpg: " + "a long caption that no line of a terminal holds, " * 5
    for out in (io.StringIO(), Screen()):
        err = Screen()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with progress("Captioning", 1) as advance:
            print(line)  # noqa: T201
            advance()
        assert "Captioning" in err.getvalue()
        where = err if out.isatty() else out  # a screen shows both
        assert f"{line}\n" in where.getvalue()


def test_where_there_is_no_terminal_a_line_is_told_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "SECONDS_A_LINE", 0.01)
    err = ""
    with progress("Extracting", 1_206) as advance:
        while err.count("\n") < 2:  # also while no photo is done
            time.sleep(0.01)
            err += capsys.readouterr().err
        advance(603)
        while "603" not in err:
            time.sleep(0.01)
            err += capsys.readouterr().err
    lines = err.splitlines()
    assert lines[0] == "Extracting: 0 of 1,206"
    assert re.fullmatch(r"Extracting: 603 of 1,206, about \d+ s left", lines[-1])
    with progress("Looking") as advance:
        advance(1_200)
        while "Looking: 1,200\n" not in err:
            time.sleep(0.01)
            err += capsys.readouterr().err
    time.sleep(0.05)
    assert "0 of" not in capsys.readouterr().err  # nothing after the end


@pytest.mark.parametrize(
    ("done", "seconds", "told"),
    [
        (0, 9.0, ""),
        (10, 9.0, ""),
        (5, 60.0, ", about 60 s left"),
        (1, 20.0, ", about 3 min left"),
        (1, 3600.0, ", about 9 h left"),
    ],
)
def test_the_time_left(done, seconds, told):
    assert terminal._left(done, 10, seconds) == told


def test_what_is_told_and_said_cannot_steer_a_terminal(capsys):
    tell("a\x1b[2J\nb")
    say("a\x07\nb\u202e")
    assert capsys.readouterr() == ("a\\x07\nb\\u202e\n", "a\\x1b[2J\\nb\n")


@pytest.mark.parametrize("coding", ["ascii", "cp1252", "utf-8", "UTF8"])
def test_json_is_json_in_any_locale(monkeypatch, coding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=coding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", out)
    print_json('{"image": "é 🐕 \\n"}')
    written = out.buffer.getvalue()
    assert json.loads(written.decode(coding)) == {"image": "é 🐕 \n"}
    assert written.isascii() == ("8" not in coding)
