import pytest

from tests.conftest import COLOURS

TEXTS = (("A", "wall here"), ("The wall is", "here"), ("the wall is", ""), ("a", "house"))


@pytest.fixture
def text(tmp_path):
    """A file of captions without photos; those of one form are captions of dev's photos."""
    lines = [f"{start} {c} {end}\n" for c in COLOURS for start, end in TEXTS for _ in range(3)]
    (tmp_path / "text.txt").write_text("".join(lines))
    return tmp_path / "text.txt"
