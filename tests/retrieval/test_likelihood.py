import json
import math
from collections import Counter

import numpy as np
import pytest
import torch

from mrnn.model.config import ModelConfig
from mrnn.retrieval.likelihood import (
    caption_nats,
    log_likelihoods,
    log_marginals,
    perplexity,
    perplexity_of,
)
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.batches import batches
from mrnn.training.network import MRNN

CAPTIONS = [[["a", "red", "wall"], ["the", "odd", "wall"]], [["the", "wall", "is", "blue", "odd"]]]


@pytest.fixture
def world(checkpoint):
    features = np.random.default_rng(1).random((2, 7), dtype=np.float32)
    return checkpoint, EncodedCaptions.of(CAPTIONS, checkpoint.vocabulary), features


def naive_perplexity(checkpoint, features):
    """A sentence and a word at a time; 2 ** -(mean log2 P)."""
    bits, count = 0.0, 0
    for image, sentences in zip(features, CAPTIONS, strict=True):
        for sentence in sentences:
            ids = [0, *checkpoint.vocabulary.encode(sentence), 1]
            with torch.no_grad():
                logits = checkpoint.model(torch.tensor([ids[:-1]]), torch.tensor(image)[None])
            for place, word in enumerate(ids[1:]):
                bits -= math.log2(float(logits[0, place].softmax(0)[word]))
                count += 1
    assert count == 4 + 4 + 6
    return 2 ** (bits / count)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_equals_the_naive_loop_whatever_the_batches(world, size):
    checkpoint, captions, features = world
    found = perplexity(checkpoint.model, batches(captions, features, size))
    assert found == pytest.approx(naive_perplexity(checkpoint, features), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_nats_of_captions_are_their_likelihoods_with_the_end_apart(world, size):
    checkpoint, captions, features = world
    model = checkpoint.model
    nats = caption_nats(model, batches(captions, features, size), len(captions))
    pairs = log_likelihoods(model, captions.sentences, features)
    own = pairs[np.arange(len(captions)), captions.image_rows]
    assert nats.sum(axis=1) == pytest.approx(-own, rel=1e-5)
    for ids, row, (_, end) in zip(captions.sentences, captions.image_rows, nats, strict=True):
        words = torch.tensor([[0, *ids]])
        with torch.no_grad():
            logits = model(words, torch.tensor(features[row])[None])
        assert end == pytest.approx(-float(logits[0, -1].log_softmax(0)[1]), rel=1e-5)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(world):
    checkpoint, captions, features = world
    with torch.no_grad():
        for parameter in checkpoint.model.parameters():
            parameter.zero_()
    found = perplexity(checkpoint.model, batches(captions, features, 2))
    assert found == pytest.approx(len(checkpoint.vocabulary))


def test_what_no_float_holds_is_infinite_and_what_is_no_number_stays_so():
    assert perplexity_of(math.log(8) * 3, 3) == pytest.approx(8)
    assert perplexity_of(1e4, 10) == math.inf
    assert perplexity_of(math.inf, 10) == math.inf
    assert math.isnan(perplexity_of(math.nan, 10))


# All pairs

SENTENCES = [
    ["a", "red", "wall"],
    ["a", "red"],
    ["the", "wall", "is", "red"],
    ["a", "red", "wall"],
    ["a", "red", "wall", "is", "the", "wall"],
    ["odd"],
    [],
]


@pytest.fixture
def pairs(checkpoint):
    images = np.random.default_rng(2).normal(size=(150, 7)).astype(np.float32)
    return checkpoint.model, [checkpoint.vocabulary.encode(words) for words in SENTENCES], images


def one_forward_per_pair(model, sentences, images):
    scores = np.empty((len(sentences), len(images)))
    for i, sentence in enumerate(sentences):
        words = torch.tensor([[0, *sentence]])
        targets = torch.tensor([*sentence, 1])
        for n, image in enumerate(images):
            with torch.no_grad():
                logits = model(words, torch.tensor(image)[None])[0]
            scores[i, n] = logits.log_softmax(1)[torch.arange(len(targets)), targets].sum()
    return scores


def test_all_pairs_equal_one_forward_per_pair(pairs):
    model, sentences, images = pairs
    found = log_likelihoods(model, sentences, images)
    assert found == pytest.approx(one_forward_per_pair(model, sentences, images), abs=1e-4)
    assert (found[0] == found[3]).all()


@pytest.mark.parametrize("memory", [1, 40_000, 10**9])
def test_blocks_change_nothing(pairs, memory, monkeypatch):
    model, sentences, images = pairs
    whole = log_likelihoods(model, sentences, images)
    monkeypatch.setattr("mrnn.retrieval.likelihood.ROWS_AT_ONCE", 5)
    monkeypatch.setattr("mrnn.retrieval.likelihood.IMAGES_AT_ONCE", 7)
    counts = []
    found = log_likelihoods(model, sentences, images, memory=memory, on_pairs=counts.append)
    assert found == pytest.approx(whole, abs=1e-5)
    assert sum(counts) == whole.size
    assert len(counts) >= math.ceil(len(images) / 7)


def most_bytes(call, file):
    """What torch holds at most at a time, of what is allocated within the call."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    profile.export_chrome_trace(str(file))
    events = json.loads(file.read_text())["traceEvents"]
    changes = [event["args"]["Bytes"] for event in events if event.get("name") == "[memory]"]
    return max(np.cumsum(changes))


def test_memory_is_that_of_the_budget_however_many_the_sentences(tmp_path):
    sizes = ModelConfig(
        vocabulary_size=300, image_size=8, embedding_size=8, recurrent_size=32, multimodal_size=64
    )
    model, random = MRNN(sizes).eval(), np.random.default_rng(0)
    images = random.random((64, 8), dtype=np.float32)
    seen = 4 * sizes.multimodal_size * len(images)

    def most(count, memory):
        sentences = [random.integers(3, 300, 6) for _ in range(count)]
        file = tmp_path / "trace.json"
        return most_bytes(lambda: log_likelihoods(model, sentences, images, memory=memory), file)

    budget = 4_000_000
    few, many = most(40, budget), most(120, budget)
    assert budget / 4 < few < budget + seen
    assert budget / 4 < many < budget + seen
    assert most(120, 10**9) > budget + seen  # so the budget is what holds it


def test_each_beginning_is_read_once_and_each_image_seen_once(pairs, monkeypatch):
    model, sentences, images = pairs
    read, see, join, counts = model.read, model.see, model.join, Counter()

    def count(name, method):
        def counted(first, *rest):
            counts[name] += first.shape[0]
            return method(first, *rest)

        return counted

    for name, method in (("read", read), ("see", see), ("join", join)):
        monkeypatch.setattr(model, name, count(name, method))
    log_likelihoods(model, sentences, images)
    ended = [[0, *sentence, 1] for sentence in sentences]
    nodes = {tuple(sentence[:end]) for sentence in ended for end in range(1, len(sentence) + 1)}
    inner = {tuple(sentence[:end]) for sentence in ended for end in range(1, len(sentence))}
    assert counts == {"read": len(nodes), "see": len(images), "join": len(inner) * len(images)}


def test_only_the_wanted_pairs_are_worked_out(pairs, monkeypatch):
    model, sentences, images = pairs
    whole = log_likelihoods(model, sentences, images)
    wanted = np.random.default_rng(3).random(whole.shape) < 0.1
    assert wanted.any(axis=1).all()
    rows = []
    join = model.join
    monkeypatch.setattr(
        model, "join", lambda language, seen: rows.append(len(seen)) or join(language, seen)
    )
    counts = []
    found = log_likelihoods(model, sentences, images, wanted=wanted, on_pairs=counts.append)
    assert found[wanted] == pytest.approx(whole[wanted], abs=1e-5)
    assert (found[~wanted] == -np.inf).all()
    assert sum(counts) == wanted.sum()
    words = np.array([len(sentence) + 1 for sentence in sentences])
    assert 0 < sum(rows) <= (wanted * words[:, None]).sum()


def test_bfloat16_is_near(pairs):
    model, sentences, images = pairs
    found = log_likelihoods(model, sentences, images, precision=torch.bfloat16)
    assert found == pytest.approx(log_likelihoods(model, sentences, images), abs=0.1)


def test_marginals_are_the_mean_over_images_in_log_space(pairs):
    scores = log_likelihoods(*pairs)
    mean = np.log(np.exp(scores.astype(np.float64)).mean(axis=1))
    assert log_marginals(scores) == pytest.approx(mean, abs=1e-4)
    far = np.array([[-5000.0, -5001.0], [-1.0, -np.inf]], dtype=np.float32)
    expected = [-5000 + math.log((1 + math.exp(-1)) / 2), -1 - math.log(2)]
    assert log_marginals(far) == pytest.approx(expected)
