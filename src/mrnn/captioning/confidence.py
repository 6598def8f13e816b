"""Signals of how likely a caption is right, see `mrnn.model.confidence`.

To add a signal: its field in `Signals`, and its column here.

Letters: N photos, F image feature, K signals.
"""

from collections.abc import Sequence

import numpy as np

from mrnn.captioning.reranking import DECIMALS
from mrnn.captioning.results import Caption
from mrnn.model.confidence import Signals
from mrnn.model.heads import Heads
from mrnn.shapes import Float, Float64
from mrnn.tokenizer import Vocabulary


def signals_of(
    heads: Heads,
    vocabulary: Vocabulary,
    captions: Sequence[Caption],
    features: Float[np.ndarray, "N F"],
) -> Float64[np.ndarray, "N K"]:
    """The signals of a caption for each photo, rounded to decimals that no batch changes."""
    sentences = [[vocabulary.encode([word.word for word in c.words])] for c in captions]

    def column(scores: Sequence[Float[np.ndarray, " 1"]]) -> Float64[np.ndarray, " N"]:
        return np.array([score[0] for score in scores], dtype=np.float64)

    signals = Signals(
        predicted_cider=column(heads.predicted_cider(sentences, features)),
        similarity=column(heads.similarity(sentences, features)),
        word_log_probability=np.array(
            [c.log_probability / (len(c.words) + 1) for c in captions], dtype=np.float64
        ),
        expected_inventions=column(heads.expected_inventions(sentences, features)),
    )
    return np.stack(signals, axis=1).round(DECIMALS)
