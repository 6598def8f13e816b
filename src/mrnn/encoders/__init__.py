"""Image encoders: a photo in, a feature vector out, and an identity that says exactly how."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32
from PIL import Image

from mrnn.errors import OptionsError
from mrnn.model.config import EncoderIdentity, Fit


@runtime_checkable
class Encoder(Protocol):
    """An image encoder; one object, used for training features and for new photos alike."""

    @property
    def identity(self) -> EncoderIdentity:
        """What tells its features from those of any other encoder."""
        ...

    def preprocess(self, photo: Image.Image) -> Float32[np.ndarray, "V C H W"]:
        """What the network sees of an RGB photo: one view, or several."""
        ...

    def encode(self, pixels: Float32[np.ndarray, "B V C H W"]) -> Float32[np.ndarray, "B F"]:
        """Features of preprocessed photos; of several views, their mean."""
        ...


def _efficientnet_lite(variant: int) -> Callable[[Fit], Encoder]:
    def load(fit: Fit) -> Encoder:
        from mrnn.encoders.efficientnet_lite import load_efficientnet_lite

        return load_efficientnet_lite(variant, fit)

    return load


# Those whose weights install with the package.
ENCODERS: dict[str, Callable[[Fit], Encoder]] = {
    f"efficientnet-lite{variant}": _efficientnet_lite(variant) for variant in (0, 1, 2)
}
# Those of torchvision, with the layer that is taken; timm:NAME is one too.
PRETRAINED = {
    **dict.fromkeys(("alexnet", "vgg16", "vgg19"), "fc7"),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152"), "pool5"),
}
JOINT = "+"
"""Between the names of encoders whose features are joined, end to end."""
AT = "@"
"""Between an encoder's name and the side in pixels that it sees, if that is not its own."""
DEFAULT_ENCODER = "efficientnet-lite0@320+efficientnet-lite1@352+efficientnet-lite2@352"
"""All that install with the package: what one misses another sees. At a larger size than they were
trained at they see more of what is small."""
DEFAULT_FIT: Fit = "squash"


def is_encoder(name: str) -> bool:
    """Whether `load_encoder` knows the name; timm may yet refuse it."""
    return all(
        own in ENCODERS or own in PRETRAINED or own.startswith("timm:")
        for own in (part.partition(AT)[0] for part in name.split(JOINT))
    )


def load_encoder(
    name: str = DEFAULT_ENCODER,
    fit: str = DEFAULT_FIT,
    *,
    weights: Path | None = None,
    photos: int = 1,
) -> Encoder:
    """The encoder of that name, with its own ImageNet weights or those in a file.

    NAME+NAME is both, their features end to end; NAME@SIZE sees squares of SIZE pixels.
    About how many `photos` it will see decides whether it is worth while to make it faster first.
    Raises OptionsError for the name or fit, CheckpointError for the weights.
    """
    if not is_encoder(name):
        known = ", ".join([*ENCODERS, *PRETRAINED])
        raise OptionsError(
            f"There is no encoder {name!r}; those there are: {known}, timm:NAME, "
            f"any at another size as NAME{AT}320, and several joined as NAME{JOINT}NAME"
        )
    if JOINT in name:
        if weights:
            raise OptionsError(f"{name} are several encoders: no --weights here")
        from mrnn.encoders.joined import JoinedEncoder

        return JoinedEncoder([load_encoder(part, fit, photos=photos) for part in name.split(JOINT)])
    if fit not in get_args(Fit):
        raise OptionsError(f"A photo is fitted by {', '.join(get_args(Fit))}, not by {fit!r}")
    known_fit = cast("Fit", fit)
    own_name, at, size = name.partition(AT)
    if own_name in ENCODERS:
        if weights:
            raise OptionsError(
                f"The weights of {own_name} install with the package: no --weights here"
            )
        encoder = ENCODERS[own_name](known_fit)
    else:
        from mrnn.encoders.pretrained import load_pretrained

        encoder = load_pretrained(own_name, known_fit, weights)
    if at:
        from mrnn.encoders.network_encoder import resized

        encoder = resized(encoder, size)
    from mrnn.encoders.onnx_runtime import accelerated

    return accelerated(encoder, photos)
