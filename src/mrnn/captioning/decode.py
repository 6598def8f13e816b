"""From a language model to sentences, by search or by sampling. It needs no network and no text.

Letters as in `mrnn.captioning.hypotheses`.
"""

from collections.abc import Sequence

import numpy as np

from mrnn.captioning.beam_search import beam_search
from mrnn.captioning.constraints import Constraints
from mrnn.captioning.hypotheses import Hypothesis, LanguageModel
from mrnn.model.config import DecodingOptions
from mrnn.shapes import Float

FREE = Constraints()


def decode(
    model: LanguageModel,
    images: Float[np.ndarray, "N M"],
    options: DecodingOptions,
    constraints: Constraints = FREE,
    *,
    keys: Sequence[int] | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of each image, best first, no two alike.

    Searched at temperature 0, else sampled. `constraints` holds the words of `options` as ids, see
    `Constraints.of`. A hypothesis has at least one word and ends with `<eos>`; `<unk>` and `<bos>`
    are never in it. Raises OptionsError where the options leave no sentence.

    `keys` has a number an image, by default its place. Samples of an image depend on the seed, its
    key and the model, not on other images.
    """
    constraints.check(options)
    if options.temperature:
        from mrnn.captioning.sampling import sample  # numpy.random takes a while to import

        keys = range(len(images)) if keys is None else keys
        found = sample(model, images, options, constraints, keys)
    else:
        found = beam_search(model, images, options, constraints)
    constraints.check_found(found, options)
    return found
