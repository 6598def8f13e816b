"""Each device that is there: an epoch of training, features of photos, and agreement with the CPU.

PyTorch's devices train one epoch of a recipe: words a second, and dev perplexity beside that of the
CPU. ONNX Runtime's devices encode photos and caption them: photos a second, and captions beside
those of the CPU. Exit code 1 where a device is further from the CPU than it should be: perplexity
by .5 %, or more than 2 % of the captions.

Run: python benchmarks/device.py DATA [--recipe paper] [--photos 1000]
DATA is a dataset folder with its photos, and with the features of the recipe's encoder.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import Dataset
from mrnn.data.images import load_image
from mrnn.model import devices
from mrnn.model.epochs import EpochDone
from mrnn.training.devices import available_devices, describe
from mrnn.training.recipe import load_recipe
from mrnn.training.train import train

MOST_PERPLEXITY, MOST_CAPTIONS = 0.005, 0.02
"""Fractions by which a device may differ from the CPU."""


class Captions(NamedTuple):
    """What a trained model did on one device."""

    encoded: float
    """Photos a second, without the reading of their files."""
    captioned: float
    """Photos a second, from their features."""
    features: np.ndarray
    texts: Sequence[str]


def epoch_on(device: str, recipe: str, data: Path, seed: int) -> EpochDone:
    """One epoch, in a folder that is removed."""
    settings = ["training.epochs=1", f"training.seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        chosen = load_recipe(recipe, settings).model_copy(update={"joint_embedding": None})
        events = train(chosen, Dataset.load(data), Path(folder) / "run", device=device)
        (epoch,) = [event for event in events if isinstance(event, EpochDone)]
    return epoch


def captions_on(device: str, photos: Sequence[Path]) -> Captions:
    """The shipped model on these photos."""
    captioner = Captioner.load(device=device)
    encoder = captioner.encoder
    seconds, found_features = 0.0, []
    for number, photo in enumerate((photos[0], *photos)):  # a device may compile first
        pixels = encoder.preprocess(load_image(photo, least_side=encoder.identity.least_side))
        start = time.perf_counter()
        feature = encoder.encode(pixels)
        if number:
            seconds += time.perf_counter() - start
            found_features.append(feature)
    features = np.stack(found_features)
    captioner.describe(features[:1])
    start = time.perf_counter()
    found = captioner.describe(features)
    described = time.perf_counter() - start
    texts = [captions[0].text for captions in found]
    count = len(photos)
    return Captions(count / seconds, count / described, features, texts)


def compare_training(recipe: str, data: Path, seed: int) -> bool:
    """A line for each device of PyTorch; whether all agree."""
    well, expected = True, 0.0
    for device in available_devices():
        epoch = epoch_on(device, recipe, data, seed)
        expected = expected or epoch.dev_perplexity
        off = epoch.dev_perplexity / expected - 1
        well &= abs(off) <= MOST_PERPLEXITY
        print(
            f"train    {describe(torch.device(device)):<24} {epoch.words_per_second:9,.0f} words/s"
            f"   dev perplexity {epoch.dev_perplexity:.3f} ({off:+.2%})",
            flush=True,
        )
    return well


def compare_captions(photos: Sequence[Path]) -> bool:
    """A line for each device of ONNX Runtime; whether all agree."""
    well, expected = True, None
    for device in reversed(devices.available_devices()):
        found = captions_on(device, photos)
        expected = expected or found
        pairs = zip(found.texts, expected.texts, strict=True)
        other = sum(one != two for one, two in pairs) / len(photos)
        well &= other <= MOST_CAPTIONS
        distance = np.abs(found.features - expected.features).max()
        print(
            f"caption  {device:<24} {found.encoded:9,.1f} photos/s encoded, "
            f"{found.captioned:,.1f} captioned   {1 - other:.1%} equal captions, features within "
            f"{distance:.1g}",
            flush=True,
        )
    return well


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    there = [i.path for i in Dataset.load(arguments.data).images if i.path.is_file()]
    well = compare_training(arguments.recipe, arguments.data, arguments.seed)
    well &= compare_captions(there[: arguments.photos])
    sys.exit(not well)


if __name__ == "__main__":
    main()
