"""Familiarity on photos like the training ones, and on pictures that are nothing like them.

Run: python benchmarks/familiarity.py DATA [--model RUN] [--photos FOLDER]
Prints how the dev photos of a dataset folder score, those of FOLDER, and seven kinds of drawings.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.data.images import ImageSource, find_images
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.model.config import DecodingOptions
from mrnn.model.familiarity import UNFAMILIAR

EACH = 100
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


def scatter_plot(random: np.random.Generator) -> Image.Image:
    """Clouds of dots in a frame, with ticks and a title."""
    page = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(page)
    draw.rectangle((80, 40, 600, 430), outline="black")
    draw.text((260, 10), "sepal length", "black", ImageFont.load_default(18))
    for tick in range(6):
        draw.text((70 + tick * 104, 440), f"{tick / 5:.1f}", "black")
        draw.text((50, 422 - tick * 78), f"{tick * 10}", "black")
    for colour in COLOURS[: random.integers(1, 5)]:
        middle = random.uniform((180, 130), (480, 330))
        for x, y in random.normal(middle, (45, 35), (int(random.integers(30, 200)), 2)):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), colour)
    return page


def screenshot(random: np.random.Generator) -> Image.Image:
    """A window: a title bar, a list at the side, boxes of text, buttons."""
    paper, ink = ("white", "black") if random.random() < 0.6 else ("#202024", "#dddddd")
    accent = COLOURS[random.integers(len(COLOURS))]
    page = Image.new("RGB", (1280, 800), paper)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 1280, 50), accent)
    for line in range(int(random.integers(4, 14))):
        draw.text((20, 70 + line * 40), "Settings and more", ink, ImageFont.load_default(16))
    for box in range(int(random.integers(2, 7))):
        x, y = 240 + box % 2 * 500, 80 + box // 2 * 230
        draw.rounded_rectangle((x, y, x + 460, y + 200), 10, outline="grey")
        for line in range(5):
            draw.text((x + 15, y + 15 + line * 26), "some words of no account " * 2, ink)
        draw.rectangle((x + 360, y + 160, x + 440, y + 188), accent)
    return page


def checkerboard(random: np.random.Generator) -> Image.Image:
    """Black and white squares, in order or as in a QR code."""
    side = int(random.integers(6, 40))
    squares = np.indices((side, side)).sum(0) % 2
    if random.random() < 0.7:
        squares = random.integers(0, 2, (side, side))
    picture = Image.fromarray((squares * 255).astype(np.uint8))
    return picture.resize((400, 400), Image.Resampling.NEAREST)


def plain_colour(random: np.random.Generator) -> Image.Image:
    """One colour, or a slow change from one to another."""
    colours = random.integers(0, 256, (2, 3))
    weight = np.linspace(0, random.integers(0, 2), 300)[:, None, None]
    rows = colours[0] * (1 - weight) + colours[1] * weight
    return Image.fromarray(np.broadcast_to(rows, (300, 300, 3)).astype(np.uint8))


DRAWINGS = (noise, text_page, chart, scatter_plot, screenshot, checkerboard, plain_colour)


def scores_of(captioner: Captioner, pictures: Sequence[ImageSource]) -> np.ndarray:
    """Of those that can be read."""
    greedy = DecodingOptions(beam_size=1, maximum_words=1)  # the captions do not matter
    results = captioner.caption(pictures, greedy)
    return np.array([result.familiarity for result in results if result.error is None])


def main() -> None:
    """A line for each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--photos", type=Path, help="a folder of other photos")
    arguments = parser.parse_args()
    captioner = Captioner.load(arguments.model)
    dataset = Dataset.load(arguments.data)
    dev = load_features(dataset, captioner.checkpoint.encoder).of(dataset.split("dev"))
    familiarity = captioner.checkpoint.familiarity
    print(f"statistics: {familiarity.mean.numel() + familiarity.directions.numel():,} bytes")
    kinds = {"dev photos": familiarity.score(torch.from_numpy(dev.astype(np.float32))).numpy()}
    if arguments.photos:
        kinds["other photos"] = scores_of(captioner, list(find_images([str(arguments.photos)])))
    random = np.random.default_rng(0)
    for draw in DRAWINGS:
        pictures = [draw(random) for _ in range(EACH)]
        kinds[draw.__name__.replace("_", " ")] = scores_of(captioner, pictures)
    for kind, scores in kinds.items():
        print(
            f"{kind:<12} {len(scores):>5}  median {np.median(scores):.2f}  "
            f"lowest {scores.min():.2f}  highest {scores.max():.2f}  "
            f"called unfamiliar {np.mean(scores < UNFAMILIAR):.1%}"
        )


if __name__ == "__main__":
    main()
