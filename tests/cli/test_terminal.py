import io
import sys

from mrnn.cli.terminal import progress


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
    seconds = iter([0, 10, 29, 31, 60, 61, 62])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    with progress("Extracting", 1_206) as advance:
        for _ in range(6):
            advance(201)
    assert capsys.readouterr().err == "Extracting: 603 of 1,206\nExtracting: 1,005 of 1,206\n"
