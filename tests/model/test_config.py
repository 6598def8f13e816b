import pytest
from pydantic import ValidationError

from mrnn.errors import OptionsError
from mrnn.model.config import (
    CheckpointConfig,
    DecodingOptions,
    EncoderIdentity,
    ModelConfig,
    ModelOptions,
    RerankingOptions,
)
from mrnn.training.recipe import load_recipe

IDENTITY = EncoderIdentity(
    name="vgg16", layer="fc7", resize_mode="crop", size=224, feature_size=4096, weights="ab12"
)
SIMPLE = {"network": "simple-rnn", "embedding_layers": 1, "sees_image": False}


# The image encoder


def test_an_identity_in_words():
    assert str(IDENTITY) == "vgg16 (fc7, crop, 224 px, weights ab12)"
    imported = EncoderIdentity(
        name="mine", layer="imported", resize_mode=None, size=0, feature_size=4096, weights=""
    )
    assert str(imported) == "mine (imported, 4,096 values)"
    assert (imported.imported, IDENTITY.imported) == (True, False)


def test_joined_encoders_in_words():
    joined = EncoderIdentity(
        name="a@320+b@352", layer="pooled+pooled", resize_mode="squash", size=352,
        feature_size=9, weights="0123456789abcdef+fedcba9876543210",
    )  # fmt: skip
    assert str(joined) == "a@320+b@352 (pooled, squash, 352 px, weights 01234567+fedcba98)"


@pytest.mark.parametrize("mode", ["ten-crop", None])
def test_an_identity_of_many_encoders_is_shortened(mode):
    many = {name: "+".join(f"{name}{i:016}" for i in range(20)) for name in ("name", "weights")}
    layers = "+".join(f"layer{i}" for i in range(20))
    identity = EncoderIdentity(resize_mode=mode, size=999, feature_size=9, layer=layers, **many)
    assert len(str(identity)) <= 200
    others = [{name: value[::-1]} for name, value in many.items()]
    assert all(len(identity.difference(identity.model_copy(update=o))) <= 180 for o in others)


@pytest.mark.parametrize(("mode", "side"), [("crop", 224), ("pad-flip", 224), ("ten-crop", 256)])
def test_the_least_side_of_a_photo(mode, side):
    assert IDENTITY.model_copy(update={"resize_mode": mode}).least_side == side


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({}, ""),
        ({"name": "vgg19"}, "name vgg19, not vgg16"),
        ({"resize_mode": "pad", "weights": "cd"}, "resize mode pad, not crop"),
        ({"feature_size": 9}, "feature size 9, not 4096"),
        ({"weights": "cd34"}, "weights cd34, not ab12"),
    ],
)
def test_what_differs_in_another_identity(change, difference):
    assert IDENTITY.difference(IDENTITY.model_copy(update=change)) == difference


@pytest.mark.parametrize(
    "bad", [{"resize_mode": "wide"}, {"size": -1}, {"feature_size": 0}, {"colour": "red"}]
)
def test_identities_that_cannot_be(bad):
    with pytest.raises(ValidationError):
        EncoderIdentity.model_validate(IDENTITY.model_dump() | bad)


# The network


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "simple-rnn"}, "simple-rnn goes with embedding_layers = 1 and sees_image ="),
        (SIMPLE | {"embedding_size": 256, "multimodal_size": 9},
         "simple-rnn has no multimodal_size: leave it out"),
        (SIMPLE | {"embedding_size": 256, "shares_embedding": True},
         "simple-rnn has no shares_embedding: leave it out"),
        ({"embedding_layers": 1}, "a relu recurrence adds the word to the state: with one "
         "embedding layer embedding_size must be recurrent_size, 256, not 128"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_together(options, message):
    with pytest.raises(ValidationError, match=message):
        ModelOptions(**options)


def test_the_size_of_a_word():
    assert ModelOptions().word_size == 256
    assert ModelOptions(embedding_layers=1, recurrence="gru").word_size == 128
    assert ModelOptions(**SIMPLE, embedding_size=256).word_size == 256


@pytest.mark.parametrize(
    "bad",
    [
        {"dropout": 1}, {"dropout": float("nan")}, {"image_length": -1},
        {"image_length": float("inf")}, {"image_length": float("nan")}, {"recurrent_layers": 0},
        {"recurrence": "mlp"}, {"embedding_layers": 3}, {"vocabulary_size": 3}, {"image_size": 0},
    ],
)  # fmt: skip
def test_impossible_networks_are_refused(bad):
    with pytest.raises(ValidationError):
        ModelConfig(**{"vocabulary_size": 10, "image_size": 7} | bad)


# Decoding


@pytest.mark.parametrize(
    "bad",
    [
        {"beam_size": 0}, {"n_best": 0}, {"max_length": 0}, {"min_length": 0}, {"beam": 3},
        {"no_repeat_ngram": -1}, {"force_words": "dog"}, {"bad_words": (1,)}, {"beam_groups": 0},
        {"diversity_penalty": -1}, {"diversity_penalty": float("inf")}, {"temperature": -1},
        {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1},
        {"temperature": 1, "top_p": 0}, {"temperature": 1, "top_p": 1.1}, {"seed": -1},
        {"length_penalty": float("nan")}, {"length_penalty": 2.1},
    ],
)  # fmt: skip
def test_impossible_values_are_refused(bad):
    with pytest.raises(ValidationError):
        DecodingOptions(**bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_length": 5, "max_length": 4}, "min_length, 5, is more than max_length, 4"),
        ({"top_k": 5}, "top_k is for sampling: set temperature too, such as 1"),
        ({"top_p": 0.9}, "top_p is for sampling: set temperature too, such as 1"),
        ({"seed": 9}, "seed is for sampling: set temperature too, such as 1"),
        ({"temperature": 1, "force_words": ("dog",)},
         "force_words needs a search: leave temperature at 0"),
        ({"temperature": 1, "beam_groups": 2},
         "beam_groups is for a search: leave temperature at 0"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_together_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        DecodingOptions(**options)


def test_a_recipe_says_where_they_do_not_fit():
    with pytest.raises(OptionsError, match=r"paper.*: decoding: top_k is for sampling: set "):
        load_recipe("paper", ["decoding.top_k=3"])


def test_options_survive_json():
    options = DecodingOptions(beam_size=5, force_words=("dog", "é"), length_penalty=0.5)
    assert DecodingOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(
    ("beam_size", "n_best", "groups", "size"),
    [(3, 1, 1, 3), (3, 5, 1, 5), (6, 1, 3, 2), (3, 7, 2, 4)],
)
def test_the_beam_is_widened_to_what_is_asked(beam_size, n_best, groups, size):
    options = DecodingOptions(beam_size=beam_size, n_best=n_best, beam_groups=groups)
    assert options.group_size == size


@pytest.mark.parametrize(
    ("options", "plain"),
    [({}, True), ({"force_words": ("a",)}, True), ({"beam_groups": 2}, False),
     ({"temperature": 1}, False)],
)  # fmt: skip
def test_what_is_plain_beam_search(options, plain):
    assert DecodingOptions(**options).is_beam_search == plain


# Reranking


def test_the_weights_that_count():
    assert RerankingOptions().weights == {}
    options = RerankingOptions(predicted_cider_weight=0.5)
    assert options.weights == {"predicted_cider_weight": 0.5}


@pytest.mark.parametrize(
    "bad", [{"similarity_weight": -1}, {"predicted_cider_weight": float("inf")}, {"cider": 1}]
)
def test_impossible_weights_are_refused(bad):
    with pytest.raises(ValidationError):
        RerankingOptions(**bad)


# All together


def test_a_config_survives_json(checkpoint):
    text = checkpoint.config.model_dump_json()
    assert CheckpointConfig.model_validate_json(text) == checkpoint.config
