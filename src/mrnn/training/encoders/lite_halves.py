"""An EfficientNet-Lite in two halves: a graph that stays as it is, and layers to be trained.

Letters: B batch, C channels, H height, W width, F image feature.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor, nn

from mrnn.errors import OptionsError, printable
from mrnn.model.image_encoder import (
    AT,
    PIXELS,
    SHIPPED,
    OnnxEncoder,
    encoder_file_name,
    load_encoder,
    shipped_encoders,
)
from mrnn.model.onnx_session import Session, open_session
from mrnn.shapes import Float, Float16
from mrnn.training.encoders.efficientnet_lite import (
    Pooling,
    headless_lite,
    last_reduction,
    read_network,
)
from mrnn.training.encoders.efficientnet_lite_graph import efficientnet_lite_graph
from mrnn.training.encoders.encoder_file import read_initializers
from mrnn.training.encoders.export import write_headless
from mrnn.training.encoders.photo_views import view_of

LITE = re.compile(r"efficientnet-lite([012])(-.*)?")
NEW_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True)
class Lite:
    """A network in two halves."""

    trunk: Session
    tail: nn.Sequential
    layers: nn.Sequential
    """All layers up to pooling; the tail's are the last of them."""
    variant: int
    side: int
    """Of the squares that it is tuned for, in pixels."""

    def map_of(self, path: Path | str, view: int = 0, seed: int = 0) -> np.ndarray:
        """What the trunk makes of a view of a photo, see `view_of`."""
        pixels = view_of(path, self.side, view, seed)
        (maps,) = self.trunk.run({PIXELS: pixels[None]})
        return np.asarray(maps[0], dtype=np.float16)

    def features(self, maps: Float16[np.ndarray, "B C H W"]) -> Float[Tensor, "B F"]:
        """What the tail makes of these."""
        x = torch.from_numpy(maps.astype(np.float32))
        features: Tensor = self.tail(x.to(memory_format=torch.channels_last))
        return features


def open_lite(name: str, folder: Path) -> Lite:
    """A shipped encoder, as efficientnet-lite0@288. `folder` is for the graph of its first half.

    Raises OptionsError for any that is no EfficientNet-Lite.
    """
    found = LITE.fullmatch(name.partition(AT)[0])
    if not found:
        raise OptionsError(
            f"--encoder {name!r} cannot be fine-tuned; what can: efficientnet-lite0, 1 or 2, also "
            f"at another size, as efficientnet-lite0{AT}288"
        )
    side = load_encoder(name).identity.size  # says what is wrong with a name or size
    model = onnx.load(SHIPPED / encoder_file_name(name))
    variant = int(found[1])
    layers = read_network(read_initializers(model), variant)
    cut = last_reduction(layers) + 1  # the maps that are kept are smallest there
    ends = _input_of(model, cut)
    file = folder / "trunk.onnx"
    shaped = onnx.shape_inference.infer_shapes(model)
    onnx.save(Extractor(shaped).extract_model([PIXELS], [ends]), file)
    tail = nn.Sequential(*list(layers)[cut:], Pooling())
    for tensor in tail.parameters():
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    trunk = open_session(file, "run the command again", convolutional=True)
    return Lite(trunk, tail.train(), layers, variant, side)


def check_new_name(file: Path) -> None:
    """Raises OptionsError for a file whose stem cannot be the name of a new encoder."""
    if not NEW_NAME.fullmatch(file.stem):
        raise OptionsError(
            f"--out {printable(file)}: its name becomes the encoder's, so it may have letters, "
            "digits, '-', '_' and '.' only; as lite0-walls.onnx"
        )
    if file.stem in shipped_encoders():
        raise OptionsError(
            f"--out {printable(file)}: the package ships an encoder of that name; choose another"
        )


def _input_of(model: onnx.ModelProto, cut: int) -> str:
    """The name of the map that the layer `cut` takes."""
    (first,) = (node for node in model.graph.node if node.name == f"{cut}.0")
    return str(first.input[0])


def write_lite(lite: Lite, file: Path) -> OnnxEncoder:
    """The network as an encoder file, whose stem is its name."""
    headless = headless_lite(lite.layers, file.stem, lite.variant)
    return write_headless(headless, efficientnet_lite_graph(headless), file)
