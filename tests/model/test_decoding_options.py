import pytest
from pydantic import ValidationError

from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from mrnn.training.recipe import load_recipe


@pytest.mark.parametrize(
    "bad",
    [
        {"beam_size": 0}, {"n_best": 0}, {"maximum_words": 0}, {"minimum_words": 0}, {"beam": 3},
        {"no_repeat_ngram": -1}, {"must": "dog"}, {"must_not": (1,)}, {"diverse_groups": 0},
        {"diversity_penalty": -1}, {"diversity_penalty": float("inf")}, {"temperature": -1},
        {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1},
        {"temperature": 1, "top_p": 0}, {"temperature": 1, "top_p": 1.1}, {"seed": -1},
        {"length_exponent": float("nan")},
    ],
)  # fmt: skip
def test_impossible_values_are_refused(bad):
    with pytest.raises(ValidationError):
        DecodingOptions(**bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum_words": 5, "maximum_words": 4},
         "minimum_words, 5, is more than maximum_words, 4"),
        ({"top_k": 5}, "top_k is for sampling: set temperature too, such as 1"),
        ({"top_p": 0.9}, "top_p is for sampling: set temperature too, such as 1"),
        ({"seed": 9}, "seed is for sampling: set temperature too, such as 1"),
        ({"temperature": 1, "must": ("dog",)}, "must needs a search: leave temperature at 0"),
        ({"temperature": 1, "diverse_groups": 2},
         "diverse_groups is for a search: leave temperature at 0"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_together_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        DecodingOptions(**options)


def test_a_recipe_says_where_they_do_not_fit():
    with pytest.raises(OptionsError, match=r"paper-lite.*: decoding: top_k is for sampling: set "):
        load_recipe("paper-lite", ["decoding.top_k=3"])


def test_options_of_an_older_model_still_load():
    older = {"beam_size": 5, "n_best": 2, "maximum_words": 20, "length_exponent": 0.5}
    options = DecodingOptions.model_validate(older)
    assert options.model_dump(exclude_defaults=True) == older
    assert DecodingOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(
    ("beam_size", "n_best", "groups", "width"),
    [(3, 1, 1, 3), (3, 5, 1, 5), (6, 1, 3, 2), (3, 7, 2, 4)],
)
def test_the_beam_is_widened_to_what_is_asked(beam_size, n_best, groups, width):
    options = DecodingOptions(beam_size=beam_size, n_best=n_best, diverse_groups=groups)
    assert options.group_width == width
