"""From a language model to sentences, by search or by chance. Knows no network and no text.

Letters: N images, K beam, V vocabulary, R recurrent, M multimodal, T words, X rows (sentences in
progress).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mrnn.captioning.beam_search import beam_search
from mrnn.captioning.constraints import Constraints
from mrnn.captioning.hypotheses import Hypothesis, LanguageModel
from mrnn.captioning.sampling import sample
from mrnn.model.config import DecodingOptions

__all__ = ["Constraints", "DecodingOptions", "Hypothesis", "LanguageModel", "decode"]

FREE = Constraints()


@torch.inference_mode()
def decode(
    model: LanguageModel,
    seen: Float[Tensor, "N M"],
    options: DecodingOptions,
    constraints: Constraints = FREE,
    *,
    keys: Sequence[int] | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of each image, best first, no two alike.

    Search at temperature 0, else chance. `constraints` holds the words of `options` as ids, see
    `Constraints.of`. A hypothesis has at least one word and ends with the end sign; the unknown
    and start signs are never in it. Raises OptionsError where the options leave no sentence.

    `keys` has a number an image, by default its place. What is drawn for an image depends on the
    seed, its key, and what the model says of it, not on the images that it is decoded with.
    """
    constraints.check(options)
    if options.temperature:
        keys = range(len(seen)) if keys is None else keys
        found = sample(model, seen, options, constraints, keys)
    else:
        found = beam_search(model, seen, options, constraints)
    constraints.check_found(found, options)
    return found
