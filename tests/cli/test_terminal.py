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
