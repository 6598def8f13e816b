import numpy as np

from mrnn.evaluation.report.ranks import photo_ranks
from mrnn.evaluation.retrieval import evaluate_retrieval
from mrnn.tokenizer import EncodedCaptions


def test_ranks_of_each_photo_are_those_of_its_queries(checkpoint, heads, vocabulary):
    random = np.random.default_rng(1)
    words = [[["red", "wall"]], [["a", "wall"], ["the", "blue"], ["is", "green"]], [["green"]]]
    captions = EncodedCaptions.of(words, vocabulary)
    features = random.normal(size=(3, 7)).astype(np.float32)
    found = evaluate_retrieval(checkpoint.network, captions, features, heads=heads)
    firsts, photos = (
        found.ranks[name].tolist() for name in ("image_to_sentence", "sentence_to_image")
    )
    ranks = photo_ranks(found, captions.image_rows)
    assert [each.sentence for each in ranks] == firsts
    assert [each.photos for each in ranks] == [(photos[0],), tuple(photos[1:4]), (photos[4],)]
    assert len(set(firsts + photos)) > 1
