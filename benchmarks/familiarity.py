"""Familiarity on photos like the training ones, and on pictures that are nothing like them.

Run: python benchmarks/familiarity.py DATA [--model RUN]
Prints how the dev photos of a dataset folder score, and drawn noise, text pages and charts.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from mrnn.captioner import Captioner
from mrnn.checkpoint import DEFAULT_MODEL
from mrnn.dataset import Dataset
from mrnn.familiarity import UNFAMILIAR
from mrnn.features import load_features

EACH = 20
COLOURS = ["crimson", "steelblue", "seagreen", "orange", "purple", "grey"]


def noise(random: np.random.Generator) -> Image.Image:
    """Random pixels, at a random scale."""
    side = int(random.integers(20, 400))
    pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)


def text_page(random: np.random.Generator) -> Image.Image:
    """Lines of random words, dark on light or light on dark."""
    paper, ink = ("white", "black") if random.random() < 0.7 else ("black", "white")
    page = Image.new("RGB", (600, 800), paper)
    draw = ImageDraw.Draw(page)
    for y in range(40, 760, 18):
        letters = random.integers(97, 123, (int(random.integers(3, 13)), 6))
        draw.text((40, y), " ".join("".join(map(chr, word)) for word in letters), fill=ink)
    return page


def chart(random: np.random.Generator) -> Image.Image:
    """Bars or lines between two axes."""
    page = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(page)
    draw.line((60, 20, 60, 440, 620, 440), fill="black", width=2)
    if random.random() < 0.5:
        for bar, height in enumerate(random.integers(40, 380, 8)):
            box = (80 + bar * 65, 440 - int(height), 125 + bar * 65, 440)
            draw.rectangle(box, fill=COLOURS[bar % len(COLOURS)])
    else:
        for colour in COLOURS[:3]:
            heights = 240 + random.normal(0, 15, 60).cumsum()
            draw.line([(60 + 9 * x, float(y)) for x, y in enumerate(heights)], colour, 2)
    return page


def main() -> None:
    """A line for each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    arguments = parser.parse_args()
    captioner = Captioner.load(arguments.model)
    dataset = Dataset.load(arguments.data)
    dev = load_features(dataset, captioner.checkpoint.encoder).of(dataset.split("dev"))
    score = captioner.checkpoint.familiarity.score
    kinds = {"dev photos": score(torch.from_numpy(dev.astype(np.float32))).numpy()}
    random = np.random.default_rng(0)
    for draw in (noise, text_page, chart):
        pictures = [draw(random) for _ in range(EACH)]
        familiarities = [result.familiarity for result in captioner.caption(pictures)]
        kinds[draw.__name__.replace("_", " ")] = np.array(familiarities)
    for kind, scores in kinds.items():
        print(
            f"{kind:<11} {len(scores):>5}  median {np.median(scores):.2f}  "
            f"lowest {scores.min():.2f}  highest {scores.max():.2f}  "
            f"called unfamiliar {np.mean(scores < UNFAMILIAR):.1%}"
        )


if __name__ == "__main__":
    main()
