from dataclasses import replace

import numpy as np
import pytest

from mrnn.evaluation.captions import CaptionStatistics
from mrnn.evaluation.comparison import Difference, better_of, compare, differences_of

IMAGES = [f"{i}.jpg" for i in range(12)]
REFERENCES = [[f"a dog number{i} runs on grass", f"the dog number{i} runs"] for i in range(12)]
GOOD = [f"a dog number{i} runs" for i in range(12)]
POOR = ["a dog runs", *[f"a dog number{i} walks" for i in range(1, 11)], "a dog number11 runs"]
OF_THINGS = ("invented", "invented_person_or_dog", "things_recall")


@pytest.fixture
def report():
    return compare(IMAGES, GOOD, POOR, REFERENCES, with_meteor=False, top=3)


def test_differences_are_those_of_the_scores(report):
    for key, found in report.differences.items():
        if key not in ("meteor", *OF_THINGS):
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
        np.zeros((50, 10), dtype=np.int64),
        *np.random.default_rng(0).random((3, 50)),
        np.zeros((50, 5), dtype=np.int64),
    )
    better = replace(statistics, rouge_l=statistics.rouge_l + 0.1)
    found = differences_of(better, statistics, 200, 0)
    assert found["rouge_l"].interval == pytest.approx((0.1, 0.1))
    assert (found["rouge_l"].wins_a, found["rouge_l"].wins_b) == (50, 0)
    assert found["cider"].interval == (0, 0)


def test_who_invents_less_is_better():
    good = [f"a dog number{i}" for i in range(12)]
    poor = [f"a dog number{i} and a man" for i in range(9)] + good[9:]
    found = compare(IMAGES, good, poor, REFERENCES, with_meteor=False).differences
    assert found["invented"].difference == -9 / 21
    assert (found["invented"].wins_a, found["invented"].wins_b) == (9, 0)
    assert found["invented_person_or_dog"].difference == -9
    assert better_of("invented", found["invented"]) == "A"
    assert better_of("invented_person_or_dog", found["invented_person_or_dog"]) == "A"
    assert found["things_recall"].difference == -0.0


def test_neither_is_better_where_the_interval_holds_0():
    found = Difference(a=0.3, b=0.2, difference=0.1, interval=(0.05, 0.2), wins_a=1, wins_b=0)
    assert better_of("cider", found) == "A"
    assert better_of("invented", found) == "B"
    assert better_of("cider", found.model_copy(update={"interval": (-0.1, 0.2)})) is None
