import json

import pytest
from typer.testing import CliRunner

from mrnn import cli
from mrnn.captioning.captioner import Captioner
from mrnn.cli.decoding_flags import FLAGS, options_of
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions, RerankingOptions


def caption(colours, model, *flags):
    """The texts for one photo, by the command."""
    photo = str(colours.images[0].path)
    command = ["caption", photo, "--model", str(model), "--json", *flags]
    result = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert result.exit_code == 0
    return [found["text"] for found in json.loads(result.stdout)["captions"]]


def test_every_option_but_the_length_penalty_has_a_flag():
    options = {*DecodingOptions.model_fields, *RerankingOptions.model_fields}
    assert options - {*FLAGS} == {"length_penalty"}
    assert {*FLAGS} <= options


def test_flags_say_what_python_says(colours, model):
    options = DecodingOptions(
        beam_size=4, n_best=3, min_length=3, max_length=5, no_repeat_ngram=1,
        prefix="The", force_words=("wall", "red"), bad_words=("is",),
    )  # fmt: skip
    found = caption(
        colours, model, "--beam-size", "4", "--n-best", "3", "--min-length", "3",
        "--max-length", "5", "--no-repeat-ngram", "1", "--prefix", "The", "--force-words", "wall",
        "--force-words", "red", "--bad-words", "is",
    )  # fmt: skip
    result = Captioner.load(model).caption(colours.images[0].path, options)
    assert found == [c.text for c in result.captions]
    for text in found:
        words = text.split()
        assert words[0] == "the"
        assert {"wall", "red"} <= {*words}
        assert "is" not in words


def test_weights_rerank(colours, model_with_heads):
    weights = ["--similarity-weight", "3", "--predicted-cider-weight", "0.5"]
    found = caption(colours, model_with_heads, "--beam-size", "9", "--n-best", "9", *weights)
    options = DecodingOptions(beam_size=9, n_best=9, max_length=6)
    reranking = RerankingOptions(similarity_weight=3, predicted_cider_weight=0.5)
    captioner = Captioner.load(model_with_heads)
    result = captioner.caption(colours.images[0].path, options, reranking)
    assert found == [c.text for c in result.captions]
    assert found != caption(colours, model_with_heads, "--beam-size", "9", "--n-best", "9")


def test_seeds_and_groups(colours, model):
    sampling = ["--temperature", "1.5", "--top-k", "5", "--top-p", "0.95", "--n-best", "3"]
    first = caption(colours, model, *sampling, "--seed", "0")
    assert first == caption(colours, model, *sampling)
    assert any(first != caption(colours, model, *sampling, "--seed", str(s)) for s in range(1, 5))
    groups = ["--beam-groups", "3", "--diversity-penalty", "20", "--n-best", "3"]
    assert len({text.split()[0] for text in caption(colours, model, *groups)}) == 3


def config_of(checkpoint, **options):
    decoding, reranking = DecodingOptions(**options), RerankingOptions(similarity_weight=2)
    return checkpoint.config.model_copy(update={"decoding": decoding, "reranking": reranking})


def test_what_was_not_asked_for_is_as_the_model_was_saved(checkpoint):
    config = config_of(checkpoint, beam_size=7, force_words=("dog",))
    assert options_of(config, {}) == (config.decoding, config.reranking)
    asked = {"n_best": 2, "predicted_cider_weight": 0.5}
    decoding, reranking = options_of(config, asked)
    assert decoding == config.decoding.model_copy(update={"n_best": 2})
    assert reranking == RerankingOptions(similarity_weight=2, predicted_cider_weight=0.5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_best": 0}, "--n-best: Input should be greater than or equal to 1, not 0"),
        ({"min_length": 0}, "--min-length: Input should be greater than or equal to 1, not 0"),
        ({"top_k": 3}, "--top-k is for sampling: set temperature too, such as 1"),
        (
            {"similarity_weight": -1.0},
            "--similarity-weight: Input should be greater than or equal to 0, not -1.0",
        ),
    ],
)
def test_impossible_options_are_one_line(checkpoint, asked, message):
    with pytest.raises(OptionsError) as error:
        options_of(config_of(checkpoint), asked)
    assert str(error.value) == message


def test_a_photo_is_sampled_alike_alone_and_among_others(colours, model):
    captioner = Captioner.load(model)
    options = DecodingOptions(temperature=1.5, n_best=2)
    photos = [image.path for image in colours.images[:6]]
    together = captioner.caption(photos, options)
    for photo, result in reversed(list(zip(photos, together, strict=True))):
        alone = captioner.caption(photo, options)
        assert [c.text for c in alone.captions] == [c.text for c in result.captions]


def test_an_unknown_word_is_refused_with_the_nearest(colours, model):
    with pytest.raises(
        OptionsError, match=r"the word 'walls'; the nearest that it knows is 'wall'"
    ):
        Captioner.load(model).caption(
            colours.images[0].path, DecodingOptions(force_words=("walls",))
        )
