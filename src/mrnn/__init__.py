"""Captions for photos by the multimodal recurrent network (m-RNN) of Mao et al., ICLR 2015."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrnn.captioning.captioner import Captioner
    from mrnn.captioning.consensus import ConsensusOptions
    from mrnn.captioning.results import Caption, ImageCaptions, Word
    from mrnn.errors import (
        CheckpointError,
        DataError,
        ImageError,
        MeasureError,
        MissingExtraError,
        MRNNError,
        OptionsError,
        TrainingError,
    )
    from mrnn.evaluation.captions import score_captions
    from mrnn.model.config import DecodingOptions, RerankingOptions
    from mrnn.model.tags import Tag
    from mrnn.retrieval.results import SearchResult
    from mrnn.retrieval.search import PhotoIndex

__version__ = "0.1.0"
__all__ = [
    "Caption",
    "Captioner",
    "CheckpointError",
    "ConsensusOptions",
    "DataError",
    "DecodingOptions",
    "ImageCaptions",
    "ImageError",
    "MRNNError",
    "MeasureError",
    "MissingExtraError",
    "OptionsError",
    "PhotoIndex",
    "RerankingOptions",
    "SearchResult",
    "Tag",
    "TrainingError",
    "Word",
    "__version__",
    "score_captions",
]
_MODULES = {
    "Caption": "mrnn.captioning.results",
    "Captioner": "mrnn.captioning.captioner",
    "ConsensusOptions": "mrnn.captioning.consensus",
    "DecodingOptions": "mrnn.model.config",
    "ImageCaptions": "mrnn.captioning.results",
    "PhotoIndex": "mrnn.retrieval.search",
    "RerankingOptions": "mrnn.model.config",
    "SearchResult": "mrnn.retrieval.results",
    "Tag": "mrnn.model.tags",
    "Word": "mrnn.captioning.results",
    "score_captions": "mrnn.evaluation.captions",
}
"""Where each public name lives; all others are errors."""


def __getattr__(name: str) -> object:
    """A public name, whose module is imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'mrnn' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "mrnn.errors")), name)


def __dir__() -> list[str]:
    return __all__
