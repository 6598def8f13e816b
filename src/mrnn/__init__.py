"""Captions for photos by the multimodal recurrent network (m-RNN) of Mao et al., ICLR 2015."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrnn.captioning.captioner import Captioner as Captioner
    from mrnn.retrieval.search import PhotoIndex as PhotoIndex

__version__ = "0.1.0"
__all__ = ["Captioner", "PhotoIndex", "__version__"]
_MODULES = {"Captioner": "mrnn.captioning.captioner", "PhotoIndex": "mrnn.retrieval.search"}


def __getattr__(name: str) -> object:  # nothing is imported before it is used
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'mrnn' has no attribute {name!r}")
