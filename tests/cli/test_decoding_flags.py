import json

import pytest
from typer.testing import CliRunner

from mrnn import cli
from mrnn.captioning.captioner import Captioner
from mrnn.cli.decoding_flags import FLAGS, decoding_options
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions


@pytest.fixture
def model(checkpoint, tmp_path, colour_encoder):
    checkpoint.save(tmp_path / "run")
    return tmp_path / "run"


def caption(colours, model, *flags):
    """The texts for one photo, by the command."""
    photo = str(colours.images[0].path)
    command = ["caption", photo, "--model", str(model), "--json", *flags]
    result = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert result.exit_code == 0
    return [found["text"] for found in json.loads(result.stdout)["captions"]]


def test_every_option_but_the_exponent_has_a_flag():
    assert {*DecodingOptions.model_fields} - {*FLAGS} == {"length_exponent"}
    assert {*FLAGS} <= {*DecodingOptions.model_fields}


def test_flags_say_what_python_says(colours, model):
    flags = ["--prefix", "The", "--must", "wall", "--must", "red", "--must-not", "is"]
    options = DecodingOptions(
        beam_size=4, n_best=3, minimum_words=3, maximum_words=5, no_repeat_ngram=1,
        prefix="The", must=("wall", "red"), must_not=("is",),
    )  # fmt: skip
    found = caption(
        colours, model, "--beam-size", "4", "--n-best", "3", "--min-words", "3", "--max-words", "5",
        "--no-repeat-ngram", "1", *flags,
    )  # fmt: skip
    result = Captioner.load(model).caption(colours.images[0].path, options)
    assert found == [c.text for c in result.captions]
    for text in found:
        words = text.split()
        assert words[0] == "the"
        assert {"wall", "red"} <= {*words}
        assert "is" not in words


def test_seeds_and_groups(colours, model):
    drawing = ["--temperature", "1.5", "--top-k", "5", "--top-p", "0.95", "--n-best", "3"]
    first = caption(colours, model, *drawing, "--seed", "0")
    assert first == caption(colours, model, *drawing)
    assert any(first != caption(colours, model, *drawing, "--seed", str(s)) for s in range(1, 5))
    groups = ["--diverse-groups", "3", "--diversity-penalty", "20", "--n-best", "3"]
    assert len({text.split()[0] for text in caption(colours, model, *groups)}) == 3


def test_what_was_not_asked_for_is_as_the_model_was_saved():
    defaults = DecodingOptions(beam_size=7, must=("dog",))
    assert decoding_options(defaults, {}) == defaults
    assert decoding_options(defaults, {"n_best": 2}).must == ("dog",)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_best": 0}, "^--n-best: Input should be greater than or equal to 1, not 0$"),
        ({"minimum_words": 0}, "^--min-words: Input should be greater than or equal to 1, not 0$"),
        ({"top_k": 3}, "^decoding: top_k is for sampling: set temperature too, such as 1$"),
    ],
)
def test_impossible_options_are_one_line(asked, message):
    with pytest.raises(OptionsError, match=message):
        decoding_options(DecodingOptions(), asked)


def test_a_photo_is_drawn_alike_alone_and_among_others(colours, model):
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
        Captioner.load(model).caption(colours.images[0].path, DecodingOptions(must=("walls",)))
