import json

import pytest
from typer.testing import CliRunner

from mrnn import cli
from mrnn.captioning.captioner import Captioner
from mrnn.cli.decoding_flags import FLAGS
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--force-words", "walls"], "--force-words: the model does not know the word 'walls'"),
        (["--force-words", "red", "--bad-words", "red"], "'red' is in --bad-words and in --force"),
        (["--min-length", "9", "--max-length", "3"], "--min-length, 9, is more than --max-length"),
        (["--prefix", "walls"], "--prefix: the model does not know the word 'walls'"),
        (["--force-words", "bad_words"], "--force-words: the model does not know the word 'bad_wo"),
    ],
)
def test_messages_name_flags(mrnn, colours, model, flags, message):
    code, out, err = mrnn("caption", colours.images[0].path, "--model", model, *flags)
    assert (code, out) == (1, "")
    assert err.startswith(f"mrnn: {message}")


def test_messages_are_short_whatever_was_asked(mrnn, colours, model):
    for flag in ("--force-words", "--bad-words", "--prefix"):
        _, _, err = mrnn("caption", colours.images[0].path, "--model", model, flag, "x" * 5000)
        assert len(err) <= 300
