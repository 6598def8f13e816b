"""Image encoders: ONNX files with an identity, run by ONNX Runtime.

An encoder file has one input, "pixels" (uint8, B x H x W x 3), one output, "features" (float32,
B x F), and metadata (`EncoderMetadata`). The default encoders ship in the package; one of
torchvision or timm becomes such a file by `mrnn export-encoder`.

Letters: B batch, C crops, H height, W width, F image feature.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Protocol, cast, get_args, runtime_checkable

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from mrnn.errors import CheckpointError, ImageError, OptionsError
from mrnn.files import first_problem
from mrnn.model.config import EncoderIdentity, ResizeMode
from mrnn.model.onnx_file import check_whole
from mrnn.model.onnx_session import Session, open_session
from mrnn.model.preprocessing import Colour, crops_of
from mrnn.model.threads import in_threads
from mrnn.shapes import Float32, UInt8

JOINT = "+"
"""Between the names of encoders whose features are concatenated."""
AT = "@"
"""Between the name of an encoder and the side of its input in pixels, if not its native size."""
DEFAULT_ENCODER = (
    "efficientnet-lite0@288+efficientnet-lite1@320+efficientnet-lite2-captions@320+ssd-mobilenet-v2"
)
DEFAULT_RESIZE_MODE: ResizeMode = "squash"
SHIPPED = Path(__file__).parents[1] / "models" / "encoders"
"""The folder of the encoders that ship in the package, as NAME.onnx."""
EXPORTABLE = ("alexnet", "vgg16", "vgg19", "resnet50", "resnet101", "resnet152")
"""Networks of torchvision that `mrnn export-encoder` knows; those of timm are timm:NAME."""
SMALLEST, LARGEST = 64, 1024
"""Sides of an input that can be asked for, in pixels."""
LARGEST_NATIVE, LARGEST_FEATURE = 4096, 1_000_000
"""Of an encoder file: side of its native input in pixels, and values of its feature."""
PIXELS, FEATURES = "pixels", "features"

Sample = Annotated[float, Field(ge=0, le=255)]
"""A value of a pixel."""
Pixels = tuple[UInt8[np.ndarray, "_ _ _ 3"], ...]
"""The input of each network of an encoder for one photo: its crops, C x H x W x 3."""


class EncoderMetadata(BaseModel):
    """The metadata of an encoder file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal["1"] = "1"
    name: str = Field(pattern=r"^[A-Za-z0-9_.:@-]{1,80}$")
    layer: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,80}$")
    size: int = Field(ge=1, le=LARGEST_NATIVE)
    """Native side of the input, in pixels."""
    feature_size: int = Field(ge=1, le=LARGEST_FEATURE)
    mean: Json[tuple[Sample, Sample, Sample]]
    """Red, green and blue, 0..255, that normalization makes 0; the colour of padding."""


@runtime_checkable
class ImageEncoder(Protocol):
    """One photo to one feature; the same object for training features and for new photos."""

    @property
    def identity(self) -> EncoderIdentity:
        """Features of equal identities can be compared."""
        ...

    def preprocess(self, photo: Image.Image) -> Pixels:
        """The crops of an RGB photo, for each network."""
        ...

    def encode(self, pixels: Pixels) -> Float32[np.ndarray, " F"]:
        """The feature of one preprocessed photo: the mean over its crops."""
        ...


@dataclass(frozen=True)
class OnnxEncoder:
    """One network."""

    identity: EncoderIdentity
    padding: Colour
    session: Session
    file: Path

    def preprocess(self, photo: Image.Image) -> Pixels:
        """The crops of an RGB photo."""
        mode = self.identity.resize_mode
        assert mode is not None  # or the features are imported, and there is no network
        return (crops_of(photo, self.identity.size, mode, self.padding),)

    def encode(self, pixels: Pixels) -> Float32[np.ndarray, " F"]:
        """The mean over the crops, each by itself, which is faster than a batch; some at once.

        Raises CheckpointError for a file that does not do what it says.
        """
        (crops,) = pixels
        features = list(in_threads(crops, lambda crop: self.session.run({PIXELS: crop[None]})[0]))
        if any(feature.shape != (1, self.identity.feature_size) for feature in features):
            raise CheckpointError(
                f"{self.file} gives features of shape {features[0].shape}, not "
                f"(1, {self.identity.feature_size}); export the encoder again"
            )
        return np.asarray(np.mean(features, axis=0)[0])


@dataclass(frozen=True)
class JoinedEncoder:
    """Several networks with one resize mode: their features, concatenated."""

    parts: Sequence[OnnxEncoder]

    @property
    def identity(self) -> EncoderIdentity:
        """The identities of all parts, joined; the size is the largest."""
        known = [part.identity for part in self.parts]
        return EncoderIdentity(
            name=JOINT.join(each.name for each in known),
            layer=JOINT.join(each.layer for each in known),
            resize_mode=known[0].resize_mode,
            size=max(each.size for each in known),
            feature_size=sum(each.feature_size for each in known),
            weights=JOINT.join(each.weights for each in known),
        )

    def preprocess(self, photo: Image.Image) -> Pixels:
        """The crops for each part; parts of one size share them."""
        made: dict[tuple[int, Colour], UInt8[np.ndarray, "C H W 3"]] = {}
        for part in self.parts:
            key = (part.identity.size, part.padding)
            if key not in made:
                (made[key],) = part.preprocess(photo)
        return tuple(made[part.identity.size, part.padding] for part in self.parts)

    def encode(self, pixels: Pixels) -> Float32[np.ndarray, " F"]:
        """The feature of one preprocessed photo; the parts work at once."""
        pairs = zip(self.parts, pixels, strict=True)
        return np.concatenate(list(in_threads(pairs, lambda pair: pair[0].encode((pair[1],)))))


def encode_finite(encoder: ImageEncoder, pixels: Pixels, photo: str) -> Float32[np.ndarray, " F"]:
    """The feature of one preprocessed photo.

    Raises ImageError, which begins with the name `photo`, for a value that is not finite.
    """
    feature = encoder.encode(pixels)
    if not np.isfinite(feature).all():
        raise ImageError(
            f"{photo}: its feature is not finite; check the encoder {encoder.identity.name}"
        )
    return feature


def encoder_file_name(name: str) -> str:
    """The file name of the encoder `name`, which has no size in it."""
    return re.sub(r"[^\w.-]", "-", name.partition(AT)[0]) + ".onnx"


def shipped_encoders() -> list[str]:
    """The names of the encoders that ship in the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.onnx"))


def is_encoder(name: str) -> bool:
    """Whether the package ships an encoder of that name, or can export one."""
    known = {*shipped_encoders(), *EXPORTABLE}
    parts = (part.partition(AT)[0] for part in name.split(JOINT))
    return all(part in known or part.startswith("timm:") for part in parts)


def load_encoder(
    name: str | None = None,
    resize_mode: str = DEFAULT_RESIZE_MODE,
    file: Path | None = None,
    folder: Path | None = None,
    device: str = "cpu",
) -> OnnxEncoder | JoinedEncoder:
    """The encoder of that name: from `file`, if that is the encoder's, or from the package.

    A `folder` with NAME.onnx takes the place of the package. `device`: see `mrnn.model.devices`.

    NAME+NAME concatenates the features of both; NAME@SIZE takes squares of SIZE pixels. Without a
    name it is the one in the file, or the default. Raises OptionsError for a name, size or resize
    mode, CheckpointError for a file.
    """
    if resize_mode not in get_args(ResizeMode):
        known = ", ".join(get_args(ResizeMode))
        raise OptionsError(f"--resize-mode {resize_mode!r}: the modes are {known}")
    mode = cast("ResizeMode", resize_mode)
    given = open_encoder(file, mode, device=device) if file else None
    name = name or (given.identity.name if given else DEFAULT_ENCODER)
    names = name.split(JOINT)
    if given and not any(_is_named(given, part) for part in names):
        raise CheckpointError(
            f"{file} is the encoder {given.identity.name:.60}, not {name:.60}; give the file of "
            f"{name:.60} by --encoder-file, or leave it out if the package ships it"
        )
    parts = list(in_threads(names, lambda part: _load_part(part, mode, given, folder, device)))
    return parts[0] if len(parts) == 1 else JoinedEncoder(parts)


def open_encoder(
    file: Path, resize_mode: ResizeMode, mend: str = "", device: str = "cpu"
) -> OnnxEncoder:
    """The encoder in an ONNX file, at its native size.

    Raises CheckpointError, which ends with `mend`, for a file that is missing or no encoder.
    """
    mend = mend or "make it with: mrnn export-encoder NAME --out FILE.onnx"
    if file.is_file():
        try:
            check_whole(file)
        except ValueError as error:
            raise CheckpointError(f"{file}{error}; {mend}") from None
    session = open_session(file, mend, convolutional=True, device=device)
    try:
        metadata = EncoderMetadata.model_validate(session.metadata)
    except ValidationError as error:
        problem = first_problem(error)
        raise CheckpointError(
            f"{file} is an ONNX file, but no image encoder (metadata {problem}); {mend}"
        ) from None
    size, length = metadata.size, metadata.feature_size
    takes, gives = session.inputs.get(PIXELS), session.outputs.get(FEATURES)
    if not (
        takes and gives and len(session.inputs) == 1
        and takes[0] == "tensor(uint8)" and _is_shape(takes[1], (1, size, size, 3))
        and gives[0] == "tensor(float)" and _is_shape(gives[1], (1, length))
    ):  # fmt: skip
        raise CheckpointError(
            f"{file} is no image encoder: it must turn uint8 {PIXELS} (B, {size}, {size}, 3) into "
            f"float32 {FEATURES} (B, {length}); {mend}"
        )
    with file.open("rb") as stream:
        weights = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    identity = EncoderIdentity(
        name=metadata.name, layer=metadata.layer, resize_mode=resize_mode,
        size=size, feature_size=length, weights=weights,
    )  # fmt: skip
    red, green, blue = map(int, metadata.mean)
    return OnnxEncoder(identity, (red, green, blue), session, file)


def _is_shape(found: Sequence[int | str | None], wanted: Sequence[int]) -> bool:
    """Whether the shape of an input or output matches; its free axes are no numbers."""
    return len(found) == len(wanted) and all(
        side == other for side, other in zip(found, wanted, strict=True) if isinstance(side, int)
    )


def _is_named(encoder: OnnxEncoder, name: str) -> bool:
    return encoder.identity.name in (name, name.partition(AT)[0])


def _load_part(
    name: str, resize_mode: ResizeMode, given: OnnxEncoder | None, folder: Path | None, device: str
) -> OnnxEncoder:
    own, at, size = name.partition(AT)
    if given and _is_named(given, name):
        encoder = given
    elif (file := (folder or SHIPPED) / encoder_file_name(own)).exists():
        mend = "reinstall mrnn: pip install --force-reinstall --no-deps mrnn"
        encoder = open_encoder(file, resize_mode, mend, device)
    else:
        shipped = f"The package ships no encoder {name!r}, only {', '.join(shipped_encoders())}"
        if is_encoder(name):
            raise OptionsError(
                f"{shipped}; make its file with: mrnn export-encoder {name} --out FILE.onnx, and "
                "give it by --encoder-file FILE.onnx"
            )
        known = ", ".join(EXPORTABLE)
        raise OptionsError(f"{shipped}; files can be made of {known} and timm:NAME")
    if not at or encoder.identity.name == name:
        return encoder
    return _at_size(encoder, name, size)


def _at_size(encoder: OnnxEncoder, name: str, size: str) -> OnnxEncoder:
    """The same network with another input size; it pools over more or fewer places."""
    if not (size.isdecimal() and SMALLEST <= int(size) <= LARGEST):
        raise OptionsError(f"{name}: the size is a number of pixels, {SMALLEST} to {LARGEST}")
    side = int(size)
    if not _is_shape(encoder.session.inputs[PIXELS][1], (1, side, side, 3)):
        raise OptionsError(
            f"The file of {encoder.identity.name} takes its own size only, "
            f"{encoder.identity.size} pixels: leave out {AT}{size}, or export {name}"
        )
    name = f"{encoder.identity.name}{AT}{side}"
    identity = encoder.identity.model_copy(update={"name": name, "size": side})
    return replace(encoder, identity=identity)
