import numpy as np
import pytest

from mrnn.evaluation.captions import CaptionStatistics
from mrnn.evaluation.comparison import compare, differences_of

IMAGES = [f"{i}.jpg" for i in range(12)]
REFERENCES = [[f"a dog number{i} runs on grass", f"the dog number{i} runs"] for i in range(12)]
GOOD = [f"a dog number{i} runs" for i in range(12)]
POOR = ["a dog runs", *[f"a dog number{i} walks" for i in range(1, 11)], "a dog number11 runs"]


@pytest.fixture
def report():
    return compare(IMAGES, GOOD, POOR, REFERENCES, with_meteor=False, top=3)


def test_differences_are_those_of_the_scores(report):
    for key, found in report.differences.items():
        if key != "meteor":
            assert found.difference == found.a - found.b > 0
            low, high = found.interval
            assert 0 < low < found.difference < high
    assert report.differences["meteor"] is None
    assert report.notes == ["meteor: not asked for"]


def test_wins_are_counted_and_shown(report):
    found = report.differences["cider"]
    assert (found.wins_a, found.wins_b) == (11, 0)
    assert len(report.wins_a) == 3
    assert report.wins_b == ()
    gaps = [win.cider_a - win.cider_b for win in report.wins_a]
    assert gaps == sorted(gaps, reverse=True)
    (place,) = [i for i, name in enumerate(IMAGES) if name == report.wins_a[0].image]
    assert (report.wins_a[0].a, report.wins_a[0].b) == (GOOD[place], POOR[place])


def test_the_other_way_round_is_the_same_but_for_the_sign(report):
    other = compare(IMAGES, POOR, GOOD, REFERENCES, with_meteor=False, top=3)
    assert [win.image for win in other.wins_b] == [win.image for win in report.wins_a]
    for key, found in other.differences.items():
        if found:
            low, high = report.differences[key].interval
            assert found.interval == pytest.approx((-high, -low))
            assert found.difference == -report.differences[key].difference


def test_pairs_are_kept_together():
    """Two systems that differ by the same on every image differ by that on any set of them."""
    statistics = CaptionStatistics(
        np.zeros((50, 10), dtype=np.int64), *np.random.default_rng(0).random((3, 50))
    )
    better = CaptionStatistics(
        statistics.bleu, statistics.rouge_l + 0.1, statistics.cider, statistics.cider_plain
    )
    found = differences_of(better, statistics, 200, 0)
    assert found["rouge_l"].interval == pytest.approx((0.1, 0.1))
    assert (found["rouge_l"].wins_a, found["rouge_l"].wins_b) == (50, 0)
    assert found["cider"].interval == (0, 0)
