"""Captions for photos by the multimodal recurrent network (m-RNN) of Mao et al., ICLR 2015."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrnn.captioning.captioner import Captioner as Captioner

__version__ = "0.1.0"
__all__ = ["Captioner", "__version__"]


def __getattr__(name: str) -> object:  # torch is imported only when something needs it
    if name == "Captioner":
        from mrnn.captioning.captioner import Captioner

        return Captioner
    raise AttributeError(f"module 'mrnn' has no attribute {name!r}")
