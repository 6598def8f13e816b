import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import DataError
from mrnn.metrics.cider import DocumentFrequencies, cider, cider_d

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
HYPOTHESES = [sentence.split() for sentence in GOLDEN["hypotheses"]]
REFERENCES = [[sentence.split() for sentence in image] for image in GOLDEN["references"]]

sentences = st.lists(st.sampled_from("abcd"), max_size=8)
images = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4))


def test_equals_the_reference_scorer():
    scores = cider_d(HYPOTHESES, REFERENCES)
    np.testing.assert_allclose(scores, GOLDEN["cider_d"], rtol=0, atol=1e-9)
    assert scores.mean() == pytest.approx(GOLDEN["cider"], rel=0, abs=1e-9)


def by_dictionaries(words, references, frequencies):
    """Plain CIDEr as the paper writes it, an n-gram at a time."""

    def weights(sentence, n):
        grams = Counter(tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1))
        rarity = {g: math.log(frequencies.images / max(frequencies.counts[g], 1)) for g in grams}
        return {gram: count * rarity[gram] for gram, count in grams.items()}

    total = 0.0
    for reference in references:
        for n in range(1, 5):
            a, b = weights(words, n), weights(reference, n)
            norm = math.hypot(*a.values()) * math.hypot(*b.values())
            if norm:
                total += sum(a[gram] * b.get(gram, 0) for gram in a) / norm
    return 10 * total / 4 / len(references)


def test_plain_cider_equals_the_equations():
    frequencies = DocumentFrequencies.of(REFERENCES)
    expected = [
        by_dictionaries(words, image, frequencies)
        for words, image in zip(HYPOTHESES, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(cider(HYPOTHESES, REFERENCES), expected, rtol=0, atol=1e-9)
    assert (cider(HYPOTHESES, REFERENCES) >= cider_d(HYPOTHESES, REFERENCES) - 1e-12).all()


def test_frequencies_survive_a_file(tmp_path):
    frequencies = DocumentFrequencies.of(REFERENCES)
    frequencies.save(tmp_path / "frequencies.json")
    loaded = DocumentFrequencies.load(tmp_path / "frequencies.json")
    assert loaded.images == len(REFERENCES)
    scores = cider_d(HYPOTHESES, REFERENCES, loaded)
    np.testing.assert_allclose(scores, GOLDEN["cider_d"], rtol=0, atol=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["frequencies.json"]


def test_a_file_that_holds_no_frequencies(tmp_path):
    file = tmp_path / "frequencies.json"
    file.write_text('{"format": 2, "images": 1, "counts": {}}')
    with pytest.raises(DataError, match=r"frequencies\.json: format 2; this version of mrnn"):
        DocumentFrequencies.load(file)
    file.write_text('{"format": 1, "images": 0, "counts": {}}')
    with pytest.raises(DataError, match=r"frequencies\.json: images: expected greater"):
        DocumentFrequencies.load(file)
    for count in (0, -3, 9):
        file.write_text(f'{{"format": 1, "images": 8, "counts": {{"a dog": {count}}}}}')
        message = rf"'a dog' is in the captions of {count} images of 8; write it again: mrnn score"
        with pytest.raises(DataError, match=message):
            DocumentFrequencies.load(file)


def test_given_frequencies_make_each_image_its_own_affair():
    frequencies = DocumentFrequencies.of(REFERENCES)
    scores = [
        cider_d([words], [image], frequencies)[0]
        for words, image in zip(HYPOTHESES, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(scores, cider_d(HYPOTHESES, REFERENCES), rtol=0, atol=1e-12)


def test_document_frequencies_count_an_image_once():
    frequencies = DocumentFrequencies.of([[["a", "dog"], ["a", "a"]], [["a"]]])
    assert frequencies.images == 2
    assert frequencies.counts == {("a",): 2, ("dog",): 1, ("a", "dog"): 1, ("a", "a"): 1}


def test_a_caption_equal_to_its_only_reference_scores_ten():
    captions = [[f"{word}{i}" for i in range(5)] for word in "abc"]
    np.testing.assert_allclose(cider_d(captions, [[caption] for caption in captions]), 10)


@given(st.lists(images, min_size=1))
def test_scores_lie_between_zero_and_ten(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    scores = cider_d(hypotheses, references)
    assert scores.shape == (len(pairs),)
    assert ((scores >= 0) & (scores <= 10 + 1e-9)).all()


def test_an_empty_caption_scores_zero():
    frequencies = DocumentFrequencies.of(REFERENCES)
    assert cider_d([[]], [[["a", "dog"], []]], frequencies).tolist() == [0]


def test_refuses_what_does_not_belong_together():
    with pytest.raises(DataError, match=r"^1 hypotheses for the references of 2 images; expected"):
        cider_d([["a"]], [[["a"]], [["b"]]])
    with pytest.raises(DataError, match=r"^Image 0 has no references; expected at least one$"):
        cider_d([["a"]], [[]])
