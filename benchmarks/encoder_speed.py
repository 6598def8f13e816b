"""Photos per second of an image encoder: PyTorch beside ONNX Runtime, in turns, in one run.

Pixels are random; preprocessing, the same for both, is left out. The export is timed too, since
`mrnn extract` makes it only where it pays. Needs the extra `onnx`. Run: make bench
"""

import argparse
import math
import os
import tempfile
import time

import numpy as np
import torch

from mrnn.encoders import ENCODERS, Encoder, load_encoder
from mrnn.encoders.onnx_runtime import WORTH_EXPORTING


def seconds_a_photo(encoder: Encoder, batch: int, photos: int) -> float:
    """The least of several batches."""
    size = encoder.identity.size
    pixels = np.random.default_rng(0).standard_normal((batch, 1, 3, size, size), dtype=np.float32)
    encoder.encode(pixels)
    least = math.inf
    for _ in range(max(2, photos // batch)):
        start = time.perf_counter()
        encoder.encode(pixels)
        least = min(least, (time.perf_counter() - start) / batch)
    return least


def main() -> None:
    """One photo at a time, then sixteen; how far the features are apart; when an export pays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="efficientnet-lite2", choices=list(ENCODERS))
    parser.add_argument("--photos", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # so that the export is made here and now
        plain = load_encoder(arguments.encoder)
        start = time.perf_counter()
        faster = load_encoder(arguments.encoder, photos=WORTH_EXPORTING)
        export = time.perf_counter() - start
        if not os.listdir(folder):
            raise SystemExit("there was no export; install the extra: pip install 'mrnn[onnx]'")
    print(f"{arguments.encoder}, {torch.get_num_threads()} threads; export {export:.1f} s")
    for batch in (1, 16):
        torch_seconds = seconds_a_photo(plain, batch, arguments.photos)
        onnx_seconds = seconds_a_photo(faster, batch, arguments.photos)
        pays = export / max(torch_seconds - onnx_seconds, 1e-9)
        print(
            f"batch {batch:>2}: torch {1 / torch_seconds:5.1f} photos/s   "
            f"onnxruntime {1 / onnx_seconds:5.1f}   ratio {torch_seconds / onnx_seconds:.2f}; "
            f"the export pays from {pays:,.0f} photos on"
        )
    size = plain.identity.size
    pixels = np.random.default_rng(1).standard_normal((16, 1, 3, size, size), dtype=np.float32)
    expected, found = plain.encode(pixels), faster.encode(pixels)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"largest difference {difference:.1e} of the largest value")


if __name__ == "__main__":
    main()
