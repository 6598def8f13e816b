import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training import batches as batching
from mrnn.training.batches import batches, keep_on
from mrnn.training.devices import find_device
from mrnn.training.loss import IGNORED
from tests.training.test_devices import DEVICES

VOCABULARY = Vocabulary(["a", "red", "wall"])
images = st.lists(
    st.lists(st.lists(st.sampled_from(["a", "red", "wall", "odd"]), max_size=7), max_size=3),
    min_size=1,
    max_size=12,
).filter(any)


def features_of(captions):
    """Each image's feature is its number, twice."""
    return np.arange(len(captions), dtype=np.float16)[:, None].repeat(2, 1)


def unpack(batch):
    """The (image, sentence) pairs of a batch, read off its tensors; checks the padding."""
    for words, targets, image in zip(batch.words, batch.targets, batch.features, strict=True):
        length = int((targets != IGNORED).sum())
        sentence = targets[: length - 1].tolist()
        assert targets.tolist() == [*sentence, Vocabulary.EOS] + [IGNORED] * (len(words) - length)
        padding = [Vocabulary.EOS] * (len(words) - length)
        assert words.tolist() == [Vocabulary.BOS, *sentence, *padding]
        assert image[0] == image[1]
        yield int(image[0]), tuple(sentence)


@given(images, st.integers(1, 9), st.none() | st.integers(0, 99))
def test_every_caption_comes_once_with_its_image(captions, size, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    encoded = EncodedCaptions.of(captions, VOCABULARY)
    made = list(batches(encoded, features_of(captions), size, generator))
    expected = sorted(
        (image, tuple(VOCABULARY.encode(words)))
        for image, sentences in enumerate(captions)
        for words in sentences
    )
    assert sorted(pair for batch in made for pair in unpack(batch)) == expected
    assert sorted(row for batch in made for row in batch.rows) == list(range(len(encoded)))
    assert all(len(batch.rows) <= size for batch in made)
    assert len(made) == -(-len(expected) // size)
    assert sum(batch.word_count for batch in made) == sum(len(words) + 1 for _, words in expected)


def lengths(batch):
    return (batch.targets != IGNORED).sum(1)


def many_captions(count=1000):
    drawn = np.random.default_rng(0).integers(1, 21, count)
    captions = [[["a"] * length] for length in drawn]
    return EncodedCaptions.of(captions, VOCABULARY), features_of(captions)


def test_without_a_generator_the_order_is_by_length():
    made = torch.cat([lengths(batch) for batch in batches(*many_captions(), 10)])
    assert (made.diff() >= 0).all()


def test_random_batches_are_of_nearly_one_length_and_in_no_order():
    made = list(batches(*many_captions(), 10, torch.Generator().manual_seed(0)))
    spread = torch.stack([lengths(batch).max() - lengths(batch).min() for batch in made])
    assert spread.max() <= 2
    longest = torch.stack([lengths(batch).max() for batch in made])
    assert (longest.diff() < 0).sum() > 20


def test_the_seed_decides_and_every_epoch_is_another():
    captions, features = many_captions(200)

    def rows(generator):
        return [batch.rows.tolist() for batch in batches(captions, features, 10, generator)]

    generator = torch.Generator().manual_seed(1)
    first, second = rows(generator), rows(generator)
    assert first == rows(torch.Generator().manual_seed(1))
    assert first != second
    assert first != rows(torch.Generator().manual_seed(2))
    assert [set(batch) for batch in first] != [set(batch) for batch in second]


def test_features_may_be_a_memory_map(tmp_path):
    captions, features = many_captions(30)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    for batch in batches(captions, mapped, 7):
        assert batch.features.dtype == torch.float32
        assert batch.features[:, 0].tolist() == captions.image_rows[batch.rows].tolist()


def test_captions_without_photos_have_features_of_no_values():
    captions, features = many_captions(30)
    plain = batches(captions, features, 7, torch.Generator().manual_seed(0))
    bare = batches(captions, None, 7, torch.Generator().manual_seed(0))
    for batch, other in zip(plain, bare, strict=True):
        assert other.features.shape == (len(batch.rows), 0)
        assert torch.equal(other.words, batch.words)
        assert torch.equal(other.targets, batch.targets)


@pytest.mark.parametrize("name", DEVICES)
def test_batches_are_the_same_on_every_device(name):
    captions, features = many_captions(30)
    device = find_device(name)
    there = torch.from_numpy(features).to(device)
    for form in (features, there):
        made = batches(captions, form, 7, device=device)
        for batch, other in zip(batches(captions, features, 7), made, strict=True):
            for key in ("words", "targets", "features"):
                moved = getattr(other, key)
                assert moved.device.type == name
                assert torch.equal(moved.cpu(), getattr(batch, key))


@pytest.mark.parametrize("name", [*DEVICES, "meta"])
def test_features_stay_on_the_disk_or_go_to_another_device(
    dataset, colour_encoder, name, monkeypatch
):
    features = load_features(Dataset.load(dataset), colour_encoder.identity)
    rows = np.array([5, 2, 5])
    kept = keep_on(torch.device(name), features, rows)
    if name == "cpu":
        assert kept is features
        return
    assert (kept.device.type, kept.shape) == (name, (30, colour_encoder.identity.feature_size))
    if name != "meta":
        np.testing.assert_array_equal(kept.cpu().numpy()[rows], features[rows])
    monkeypatch.setattr(batching, "MOST_BYTES", 9)
    assert keep_on(torch.device(name), features, rows) is features
