import pytest

from mrnn.captioning.options import OPTIONS, options_of
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions, RerankingOptions


def test_options_are_fields():
    fields = {*DecodingOptions.model_fields, *RerankingOptions.model_fields}
    assert fields - {*OPTIONS} == {"length_penalty"}
    assert {*OPTIONS} <= fields


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
        ({"n_best": 0}, "--n-best: expected greater than or equal to 1, not 0"),
        ({"min_length": 0}, "--min-length: expected greater than or equal to 1, not 0"),
        ({"top_k": 3}, "--top-k is for sampling: set temperature too, such as 1"),
        (
            {"similarity_weight": -1.0},
            "--similarity-weight: expected greater than or equal to 0, not -1.0",
        ),
    ],
)
def test_impossible_options_are_one_line(checkpoint, asked, message):
    with pytest.raises(OptionsError) as error:
        options_of(config_of(checkpoint), asked)
    assert str(error.value) == message
