import pytest

from mrnn.retrieval.results import SearchResult, note_of_away, photo_id


@pytest.mark.parametrize(
    ("away", "first", "line"),
    [
        (["/a.jpg"], "/b.jpg", "1 find is away and left out, as /a.jpg; mrnn index --prune"),
        (["/a.jpg", "/c.jpg"], None, "2 finds are away and left out, as /a.jpg; mrnn index"),
        (["/a.jpg", "/c.jpg"], "/a.jpg", "2 finds are away, as /a.jpg; mrnn index --prune"),
    ],
)
def test_finds_that_are_away_are_told_in_a_line(away, first, line):
    results = [SearchResult(rank=1, path=first, score=0)] if first else []
    found = note_of_away(away, results)
    assert found.startswith(line)
    assert found.endswith("mrnn index --prune forgets what is away")


def test_photos_are_named_without_their_paths():
    one, other = photo_id("/photos/a.jpg"), photo_id("/photos/b.jpg")
    assert one != other
    assert one == photo_id("/photos/a.jpg")
    assert len(bytes.fromhex(one)) == 16
