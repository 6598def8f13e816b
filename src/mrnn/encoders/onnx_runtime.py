"""The same encoder, run by ONNX Runtime: faster, where the extra `onnx` is installed.

PyTorch exports a network once, which takes as long as some hundred photos; the export stays in the
user's cache folder, under the digest of its weights.
"""

import logging
import os
import re
import tempfile
import warnings
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from mrnn.encoders import Encoder
from mrnn.encoders.network_encoder import NetworkEncoder, Run

WORTH_EXPORTING = 2000
"""Views of photos that take longer by PyTorch than export and ONNX Runtime together."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch, relative to the largest value."""


def accelerated(encoder: Encoder, photos: int) -> Encoder:
    """The encoder, run by ONNX Runtime if its export is there or `photos` are worth making one.

    Its features count as the same. Whatever goes wrong, the encoder is given back as it is.
    """
    if not isinstance(encoder, NetworkEncoder):
        return encoder
    with suppress(Exception):  # a faster way is offered, never insisted upon
        file = export_file(encoder)
        if file.exists():
            with suppress(Exception):  # damaged, or of an older version: made anew below
                return replace(encoder, run=_session(file, encoder))
        views = {"crop": 1, "squash": 1, "pad": 1, "ten-crop": 10}.get(str(encoder.identity.fit), 2)
        if photos * views >= WORTH_EXPORTING:
            return replace(encoder, run=_exported(encoder, file))
    return encoder


def export_file(encoder: NetworkEncoder) -> Path:
    """Where the export of an encoder is, or would be."""
    identity = encoder.identity
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = re.sub(r"[^\w.-]", "-", identity.name)
    return cache / "mrnn" / f"{name}-{identity.layer}-{identity.size}-{identity.weights}.onnx"


def _session(file: Path, encoder: NetworkEncoder) -> Run:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    size = encoder.identity.size
    if (found := session.get_inputs()[0].shape[1:]) != [3, size, size]:
        raise ValueError(f"{file} takes {found}")

    def run(pixels: np.ndarray) -> np.ndarray:
        features: np.ndarray = session.run(None, {"pixels": pixels})[0]
        return features

    return run


def _exported(encoder: NetworkEncoder, file: Path) -> Run:
    """Export, compare with PyTorch, and only then give the file its name."""
    import_module("onnxruntime")
    file.parent.mkdir(parents=True, exist_ok=True)
    size = encoder.identity.size
    pixels = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logger = logging.getLogger("torch.onnx")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
        new = Path(folder, file.name)
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    encoder.network, (pixels[:2],), new, dynamo=True, external_data=False,
                    verbose=False, input_names=["pixels"], output_names=["features"],
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                )  # fmt: skip
        finally:
            logger.setLevel(level)
        run = _session(new, encoder)
        expected, found = encoder.run(pixels.numpy()), run(pixels.numpy())
        if not np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max():
            raise ValueError("the export computes something else")
        new.replace(file)
    return _session(file, encoder)
