import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.evaluation.report.charts import BOTTOM, LEFT, RIGHT, TOP, Line, chart, histogram

numbers = st.floats(-1e6, 1e6)


def drawn(text):
    """The places of each line's points in a chart."""
    found = re.findall(r'<polyline class="[^"]*" points="([^"]*)"', text)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in found]


@given(st.lists(st.tuples(numbers, numbers), max_size=8))
def test_points_are_inside_and_in_proportion(points):
    text = chart([Line("one", points)], title="t", x="x", y="y")
    ElementTree.fromstring(text)  # well formed
    (places,) = drawn(text)
    assert len(places) == len(points)
    for (x, y), (px, py) in zip(points, places, strict=True):
        assert LEFT <= px <= RIGHT
        assert TOP <= py <= BOTTOM
        for (x2, y2), (px2, py2) in zip(points, places, strict=True):
            assert x > x2 or px <= px2
            assert y > y2 or py >= py2


def test_ticks_are_round_and_enclose_the_points():
    text = chart([Line("one", [(1.0, 3.2), (11.0, 17.8)])], title="t", x="x", y="y")
    ticks = re.findall(r'<text class="(end|mid)" x="[\d.]+" y="[\d.]+">([-\d.]+)</text>', text)
    assert [tick for side, tick in ticks if side == "end"] == ["0", "5", "10", "15", "20"]
    assert [tick for side, tick in ticks if side == "mid"] == ["0", "2", "4", "6", "8", "10", "12"]


@pytest.mark.parametrize(
    ("points", "across", "up"),
    [
        ([(1.0, 0.0), (2.0, 1.0)], ["1", "2"], ["0", "1"]),
        ([(1.0, 2.0)], ["1", "2"], ["2", "3"]),
        ([(1.0, 0.0), (3.0, 2.0)], ["1", "2", "3"], ["0", "1", "2"]),
        ([(0.5, 0.0), (1.5, 1.0)], ["0.4", "0.6", "0.8", "1", "1.2", "1.4", "1.6"], ["0", "1"]),
    ],
)
def test_counts_have_whole_ticks(points, across, up):
    text = chart([Line("one", points)], title="t", x="epoch", y="photos")
    ticks = re.findall(r'<text class="(end|mid)" x="[\d.]+" y="[\d.]+">([-\d.]+)</text>', text)
    assert [tick for side, tick in ticks if side == "mid"] == across
    assert [tick for side, tick in ticks if side == "end"] == up


def test_what_is_not_finite_is_left_out():
    points = [(1.0, math.inf), (2.0, 5.0), (3.0, math.nan), (4.0, 6.0)]
    assert len(drawn(chart([Line("one", points)], title="t", x="x", y="y"))[0]) == 2


def test_names_are_escaped():
    text = chart([Line("<b>&", [(0.0, 1.0)])], title='"><i>', x="<x>", y="<y>")
    figure = ElementTree.fromstring(text)
    assert figure.find("figcaption").text == '"><i>'
    assert figure.find("ul/li").text == "<b>&"
    assert not list(figure.iter("b")) + list(figure.iter("i"))


@given(st.lists(numbers, min_size=1, max_size=40))
def test_a_histogram_counts_each_value_once(values):
    outline = histogram(values, min(values), max(values))
    tops = outline[1:-1]
    assert sum(height for _, height in tops) == 2 * len(values)  # each bar has two corners
    assert outline[0] == (min(values), 0)
    assert outline[-1][0] == pytest.approx(max(max(values), min(values) + 1e-9), abs=1, rel=1e-9)
