"""The `mrnn` command, also as `python -m mrnn`; Ctrl-C while it starts gives a line too."""

import os
import sys


def main() -> None:
    """Imports what the commands need where an interruption is caught."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # there are none, and looking takes time
    try:
        from mrnn.cli import main as run

        run()
    except KeyboardInterrupt:
        print("mrnn: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
