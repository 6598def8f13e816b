from dataclasses import replace

import numpy as np
import pytest

from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features, load_features
from mrnn.data.splits import hold_out
from mrnn.errors import DataError, OptionsError
from mrnn.model.quantization import rounded
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.ranking import near_marginals
from mrnn.tokenizer import EncodedCaptions
from mrnn.training import heads as training
from mrnn.training.heads import WEIGHTS, train_heads
from mrnn.training.recipe import (
    CiderPredictorOptions,
    HeadOptions,
    JointEmbeddingOptions,
    NeighbourOptions,
)

JOINT = JointEmbeddingOptions(size=6, steps=40, batch_size=12, learning_rate=0.02)
OPTIONS = HeadOptions(joint_embedding=JOINT)


@pytest.fixture
def data(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


def features_of(checkpoint, data, split):
    return load_features(data, checkpoint.encoder).of(data.split(split)).astype(np.float32)


def test_heads_of_colours(checkpoint, data):
    steps = []
    heads = train_heads(checkpoint, data, OPTIONS, on_step=lambda: steps.append(1))
    assert len(steps) == JOINT.steps * JOINT.parts
    assert {heads.weights.sentence_to_image, heads.weights.image_to_sentence} <= set(WEIGHTS)
    train = features_of(checkpoint, data, "train")
    sampled = heads.sampled_features
    assert np.sort(sampled, axis=0) == pytest.approx(np.sort(train, axis=0), abs=1 / 128)
    sentences = [checkpoint.vocabulary.encode([name]) for name in ("red", "green", "blue")]
    dev = features_of(checkpoint, data, "dev")
    nearest = (heads.embed_image(dev) @ heads.embed_text(sentences).T).argmax(axis=1)
    assert nearest.tolist() == [0, 1, 2, 0, 1, 2]
    best = [scores.argmax() for scores in heads.predicted_cider([sentences] * 6, dev)]
    assert best == [0, 1, 2, 0, 1, 2]


def test_only_the_cider_predictor_takes_from_text(checkpoint, data, tmp_path):
    """In train a red wall has two captions; the text has more like one of them alone."""
    text = tmp_path / "text.tsv"
    text.write_text(
        "".join(f"{name}\ta {name} wall a {name} wall\n" for name in ("red", "green", "blue"))
    )
    near = CiderPredictorOptions(neighbours=NeighbourOptions(similarity=0))
    options = OPTIONS.model_copy(update={"cider_predictor": near})
    alone, taught = (train_heads(checkpoint, data, options, text=t) for t in ((), (text,)))
    red = features_of(checkpoint, data, "dev")[:1]
    words = (["a", "red", "wall"], ["the", "wall", "is", "red"])
    sentences = [[checkpoint.vocabulary.encode(each) for each in words]]
    before, after = (each.predicted_cider(sentences, red)[0] for each in (alone, taught))
    assert after[0] - after[1] > before[0] - before[1] + 1
    assert np.array_equal(taught.embed_image(red), alone.embed_image(red))
    assert np.array_equal(taught.embed_text(sentences[0]), alone.embed_text(sentences[0]))


def test_photos_that_are_held_out_have_no_part(checkpoint, data):
    """Training is as if they were in another split."""
    _, held_out = hold_out(data.split("train"), 4)
    images = [replace(i, split="spare") if i in held_out else i for i in data.images]
    config = checkpoint.config.model_copy(update={"held_out": 4})
    steps = []
    one = train_heads(
        replace(checkpoint, config=config), data, OPTIONS, on_step=lambda: steps.append(1)
    )
    assert len(steps) == JOINT.steps * JOINT.parts + 4
    assert one.confidence is not None
    other = train_heads(checkpoint, Dataset(data.folder, tuple(images)), OPTIONS)
    assert other.confidence is None
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != train_heads(checkpoint, data, OPTIONS).fingerprint
    arrays = one.cider_predictor.arrays, other.cider_predictor.arrays
    assert all((arrays[0][name] == arrays[1][name]).all() for name in arrays[0])


def test_of_many_photos_some_are_taken_into_memory(checkpoint, data, monkeypatch):
    """Evenly spaced ones; the CIDEr predictor is fitted on all."""
    whole = train_heads(checkpoint, data, OPTIONS)
    train = data.split("train")
    few = [*train[::2], *(image for image in data.images if image.split != "train")]
    expected = train_heads(checkpoint, Dataset(data.folder, tuple(few)), OPTIONS)
    most = len(train[::2]) * checkpoint.encoder.feature_size
    monkeypatch.setattr(training, "MOST_VALUES", most)
    found = train_heads(checkpoint, data, OPTIONS)
    for name in ("image_weight", "image_bias", "feature_mean", "feature_scale"):
        ours, theirs = (each.joint_embedding.arrays[name] for each in (found, expected))
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.sampled_features, expected.sampled_features)
    for name, array in found.cider_predictor.arrays.items():
        np.testing.assert_array_equal(array, whole.cider_predictor.arrays[name])
    assert found.fingerprint != whole.fingerprint


def test_of_many_photos_of_dev_some_choose_the_weights(checkpoint, data, monkeypatch):
    asked = []

    def choose(network, heads, captions, features):
        asked.append(features)
        return training.UNWEIGHTED

    monkeypatch.setattr(training, "_choose_weights", choose)
    monkeypatch.setattr(training, "DEV_PHOTOS", 3)
    train_heads(checkpoint, data, OPTIONS)
    np.testing.assert_array_equal(asked[0], features_of(checkpoint, data, "dev")[::2])


def test_a_device_that_is_not_there(checkpoint, data, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OptionsError, match=r"^--device cuda: PyTorch finds no such device here"):
        train_heads(checkpoint, data, OPTIONS, device="cuda")


def test_what_is_trained_is_rounded_as_stored(checkpoint, data):
    heads = train_heads(checkpoint, data, OPTIONS)
    joint = heads.joint_embedding
    for matrix in (joint.words, joint.image_weight, heads.sampled_features):
        assert (rounded(matrix) == matrix).all()
    for vector in (joint.image_bias, joint.feature_mean, joint.feature_scale):
        assert (vector.astype(np.float16) == vector).all()


def test_the_same_seed_gives_the_same(checkpoint, data):
    one, other = (train_heads(checkpoint, data, OPTIONS) for _ in range(2))
    assert one.fingerprint == other.fingerprint
    arrays = one.cider_predictor.arrays, other.cider_predictor.arrays
    assert all((arrays[0][name] == arrays[1][name]).all() for name in arrays[0])
    third = train_heads(
        checkpoint, data, HeadOptions(joint_embedding=JOINT.model_copy(update={"seed": 1}))
    )
    assert third.fingerprint != one.fingerprint


def test_options_of_the_cider_predictor_count(checkpoint, data):
    predictor = CiderPredictorOptions(ngrams=3, directions=2)
    options = HeadOptions(joint_embedding=JOINT, cider_predictor=predictor)
    heads = train_heads(checkpoint, data, options)
    assert heads.cider_predictor.ngram_weight.shape == (3, 2)


@pytest.mark.parametrize("candidates", [2, 20])
def test_weights_are_those_of_the_best_mean_reciprocal_rank(
    checkpoint, data, candidates, monkeypatch
):
    """By ranking each query on its own, for every weight."""
    monkeypatch.setattr(training, "CANDIDATES", candidates)
    heads = train_heads(checkpoint, data, OPTIONS)
    words = [image.words for image in data.split("dev")]
    captions = EncodedCaptions.of(words, checkpoint.vocabulary)
    features, owners = features_of(checkpoint, data, "dev"), captions.image_rows
    vectors = heads.embed_text(captions.sentences)
    similarity = vectors @ heads.embed_image(features).T
    corrected = similarity - heads.hubness_correction(vectors)[:, None]
    scores = log_likelihoods(checkpoint.network, captions.sentences, features)
    distinct = scores - near_marginals(checkpoint.network, heads, captions.sentences)[:, None]

    def reciprocal_rank(near, score, right, weight):
        chosen = np.argsort(-near, kind="stable")[:candidates]
        both = np.full(len(near), -1e9) + near
        both[chosen] = weight * near[chosen] + score[chosen]
        return 1 / (1 + (both > both[right].max()).sum())

    sentences = [np.flatnonzero(owners == image)[0] for image in (0, 2, 4)]
    to_image = [
        np.mean([reciprocal_rank(similarity[s], scores[s], owners[[s]], w) for s in sentences])
        for w in WEIGHTS
    ]
    to_sentence = [
        np.mean([
            reciprocal_rank(corrected[:, i], distinct[:, i], owners == i, w) for i in (0, 2, 4)
        ])
        for w in WEIGHTS
    ]  # fmt: skip
    assert heads.weights.sentence_to_image == WEIGHTS[int(np.argmax(to_image))]
    assert heads.weights.image_to_sentence == WEIGHTS[int(np.argmax(to_sentence))]


def test_a_dataset_without_dev(checkpoint, data):
    without = Dataset(data.folder, data.split("train"))
    with pytest.raises(DataError, match="no split 'dev'"):
        train_heads(checkpoint, without, OPTIONS)
