import pytest

from mrnn.evaluation.captions import MEASURES
from mrnn.evaluation.settings import basis_of, depends_on, settings_of
from mrnn.metrics.cider import DocumentFrequencies

REFERENCES = [[("a", "dog"), ("dogs",)], [("a", "cat")]]


def test_what_every_figure_depends_on():
    basis = basis_of(REFERENCES, 1000, 7)
    assert (basis["images"], basis["references"], basis["protocol"]) == (2, 3, "c1-2")
    assert (basis["resamples"], basis["resampling_seed"]) == (1000, 7)
    assert basis_of(REFERENCES[1:], 1000, 7)["protocol"] == "c1"
    assert basis.items() <= settings_of(REFERENCES, None, 1000, 7).items()


@pytest.mark.parametrize("key", [*MEASURES, "distinct", "novel"])
def test_each_measure_depends_on_something(key):
    assert depends_on(key, settings_of(REFERENCES, None, 1000, 7))


def test_cider_depends_on_the_images_of_its_frequencies():
    given = DocumentFrequencies.of(REFERENCES)
    told = [settings_of(REFERENCES, each, 1000, 7) for each in (None, given)]
    assert depends_on("cider", told[0]) == "mean, document frequencies of these references"
    assert depends_on("cider", told[1]) == "mean, document frequencies of 2 given images"
