import numpy as np
import pytest
import torch

from mrnn.model.joint_embedding import JointSpace, JointSpaceOptions, train_joint_space
from mrnn.tokenizer import Vocabulary
from mrnn.training.batches import EncodedCaptions

OPTIONS = JointSpaceOptions(size=8, steps=60, batch_size=9, learning_rate=0.02)
WORDS = ("red", "green", "blue")


@pytest.fixture
def walls():
    """Photos of three kinds, each with one to three captions that name its kind."""
    random = np.random.default_rng(0)
    vocabulary = Vocabulary(["a", "wall", *WORDS])
    kinds = np.arange(30) % 3
    features = (np.eye(3)[kinds] * 4 + random.normal(size=(30, 3))).astype(np.float32)
    captions = [[["a", WORDS[kind], "wall"]] * (1 + i % 3) for i, kind in enumerate(kinds)]
    return vocabulary, features, EncodedCaptions.of(captions, vocabulary), kinds


def test_what_belongs_together_comes_to_lie_together(walls):
    vocabulary, features, captions, kinds = walls
    steps = []
    space = train_joint_space(
        features, captions, len(vocabulary), OPTIONS, on_step=lambda: steps.append(1)
    )
    assert len(steps) == OPTIONS.parts * OPTIONS.steps
    with torch.no_grad():
        sentences = space.read([vocabulary.encode([word]) for word in WORDS])
        nearest = (space.see(torch.from_numpy(features)) @ sentences.t()).argmax(1).numpy()
    assert (nearest == kinds).mean() > 0.9


def test_the_same_seed_gives_the_same_space_and_leaves_other_chance_alone(walls):
    vocabulary, features, captions, _ = walls
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    spaces = [train_joint_space(features, captions, len(vocabulary), OPTIONS) for _ in range(2)]
    assert torch.equal(torch.rand(1), expected)
    one, other = (space.state_dict() for space in spaces)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_likeness_is_the_mean_of_parts_trained_apart(walls):
    vocabulary, features, captions, _ = walls
    images, sentences = torch.from_numpy(features), [[3, 4, 5], [6], [7]]

    def likeness(**changes):
        options = OPTIONS.model_copy(update=changes)
        space = train_joint_space(features, captions, len(vocabulary), options)
        with torch.no_grad():
            return (space.read(sentences) @ space.see(images).t()).numpy()

    one, other = (likeness(parts=1, seed=seed) for seed in (4, 5))
    assert np.abs(one - other).max() > 0.01
    assert likeness(parts=2, seed=2) == pytest.approx((one + other) / 2, abs=1e-5)


@pytest.mark.parametrize("parts", [1, 3])
def test_vectors_have_unit_length_and_no_words_none(parts):
    torch.manual_seed(0)
    space = JointSpace(vocabulary_size=9, image_size=5, size=4, parts=parts).eval()
    with torch.no_grad():
        sentences, images = space.read([[3, 4], [], [5]]), space.see(torch.randn(6, 5))
    assert sentences.norm(dim=1).tolist() == pytest.approx([1, 0, 1])
    assert images.norm(dim=1).tolist() == pytest.approx([1] * 6)


def test_the_order_of_words_does_not_matter_but_the_words_do():
    torch.manual_seed(0)
    space = JointSpace(vocabulary_size=9, image_size=5, size=4).eval()
    with torch.no_grad():
        one, turned, other = space.read([[3, 4], [4, 3], [3, 5]])
    assert torch.allclose(one, turned)
    assert not torch.allclose(one, other)


def test_photos_without_captions_and_few_photos_are_no_trouble(walls):
    vocabulary, features, _, _ = walls
    captions = EncodedCaptions([np.array([3, 4])], np.array([1]))
    space = train_joint_space(features[:2], captions, len(vocabulary), OPTIONS)
    assert all(torch.isfinite(tensor).all() for tensor in space.state_dict().values())
