"""Writes docs/cli.md, the reference of the command line, from what `mrnn COMMAND --help` prints.

Run it after a change of the command line: .venv/bin/python docs/make_cli.py
"""

from pathlib import Path

import typer.main
from typer.testing import CliRunner

from mrnn.cli import app

FILE = Path(__file__).with_name("cli.md")
WIDTH = 100
PLAIN = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
HEAD = """\
# The command line

<!-- Written by docs/make_cli.py from the --help of each command; change the texts in
src/mrnn/cli/, then run it again. -->

Results go to stdout; progress and messages go to stderr. Progress is a bar in a terminal, and
elsewhere a line every half minute.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something that you can mend, in one line; or some photos failed while the others were done |
| 2 | the command does not exist, or its options are wrong |
| 130 | stopped with Ctrl-C; what was finished is kept |
"""


def reference() -> str:
    """The whole page; the same text wherever it is made."""
    names = list(typer.main.get_command(app).commands)
    parts = [HEAD]
    for arguments in [[], *([name] for name in names)]:
        title = " ".join(["mrnn", *arguments])
        parts.append(f"\n## {title}\n\n```text\n{_help(arguments)}\n```\n")
    return "".join(parts)


def _help(arguments: list[str]) -> str:
    result = CliRunner().invoke(
        app,
        [*arguments, "--help"],
        prog_name="mrnn",
        color=False,
        env=PLAIN,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    )
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
