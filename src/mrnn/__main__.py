"""The `mrnn` command, also as `python -m mrnn`; Ctrl-C while it starts gives a line too."""

import ctypes
import os
import sys
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def main() -> None:
    """Imports what the commands need where an interruption is caught."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # there are none, and looking takes time
    try:
        reuse_freed_memory()
        from mrnn.cli import main as run

        run()
    except KeyboardInterrupt:
        print("mrnn: interrupted", file=sys.stderr)
        sys.exit(130)


def reuse_freed_memory() -> None:
    """Tell the C library, where it can be told, to keep large blocks for the next that are asked.

    Otherwise each is given back, and the system clears new pages: a tenth of a short run.
    """
    with suppress(OSError, AttributeError, TypeError):  # no C library, or none with mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, 16 * 2**20)
        mallopt(TRIM_THRESHOLD, 64 * 2**20)


if __name__ == "__main__":
    main()
