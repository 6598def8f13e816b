"""The options of `mrnn caption`, as the command and the server take them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.model.config import CheckpointConfig, DecodingOptions, RerankingOptions

Asked = Mapping[str, Any]
"""The fields of `DecodingOptions` and `RerankingOptions` that the user gave."""
OPTIONS = {
    "beam_size": "Hypotheses kept while searching; 1 is greedy search",
    "similarity_weight":
        "Reranking: weight of the similarity of photo and caption; 0 ignores it",
    "predicted_cider_weight": "Reranking: weight of the predicted CIDEr; 0 ignores it",
    "thing_weight":
        "Reranking: weight of how likely people name the same things; 0 ignores it",
    "n_best": "Captions for each photo",
    "min_length": "Least number of words",
    "max_length": "Greatest number of words",
    "no_repeat_ngram": "No n-gram of this length occurs twice; 0 allows all",
    "force_words": "A word that every caption contains; may be repeated",
    "bad_words": "A word that no caption contains; may be repeated",
    "prefix": "What every caption begins with",
    "beam_groups": "Parts of the beam that differ from each other",
    "diversity_penalty": "Nats that a word costs for each earlier group that took it",
    "temperature": "Sample captions: 1 from the model's distribution, less for safer ones",
    "top_k": "Sample from this many of the likeliest words only",
    "top_p": "Sample from the likeliest words of this probability only",
    "seed": "The same seed samples the same captions for a photo",
}  # fmt: skip
"""What each option does; `mrnn.model.config` has the defaults."""


def options_of(
    config: "CheckpointConfig", asked: Asked
) -> "tuple[DecodingOptions, RerankingOptions]":
    """The model's defaults with what was asked for; OptionsError names what is impossible."""
    from pydantic import ValidationError

    from mrnn.files import in_plain_words

    def validated(default: "DecodingOptions | RerankingOptions") -> Any:  # noqa: ANN401
        kind = type(default)
        own = {name: value for name, value in asked.items() if name in kind.model_fields}
        try:
            return kind.model_validate({**default.model_dump(), **own})
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # each option is possible, but not with the others
                raise OptionsError(in_flags(str(first["ctx"]["error"]))) from error
            flag = flag_of(str(first["loc"][0]))
            raise OptionsError(f"{flag}: {in_plain_words(first)}") from error

    return validated(config.decoding), validated(config.reranking)


def flag_of(field: str) -> str:
    """What an option is called on the command line."""
    return f"--{field.replace('_', '-')}"


def in_flags(message: str) -> str:
    """A message about fields, in the words of the command line: --max-length for max_length."""
    long = "|".join(name for name in OPTIONS if "_" in name)
    short = "|".join(name for name in OPTIONS if "_" not in name)
    pattern = rf"(?<!['\"\w])(?:{long})\b|^(?:{short})\b"
    return re.sub(pattern, lambda field: flag_of(field[0]), message)
