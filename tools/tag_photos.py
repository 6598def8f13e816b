"""Photos with captions by which tags are calibrated, and figures of the tags that they get.

Letters: N photos, T tags.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrnn.model.tags import Tagger
from mrnn.shapes import Bool, Float, Float32
from mrnn.tokenizer import tokenize

COCO_SPLITS = Path(__file__).parents[1] / "docs/coco-photos"
BINS = 10


@dataclass(frozen=True)
class Photos:
    """Photos that have captions and features."""

    captions: list[list[list[str]]]
    parts: np.ndarray
    """Source and split of each, as "flickr8k train"."""
    features: dict[str, Float32[np.ndarray, "N _"]]
    """By encoder."""


def read_photos(data: Path, features: Sequence[Path], keys: Mapping[str, str]) -> Photos:
    """Those in the files of features that some split has."""
    described = _flickr8k(data) | _coco(data) | _broad(data)
    loaded = [np.load(file) for file in features]
    files = np.concatenate([each["files"] for each in loaded]).tolist()
    rows = [row for row, name in enumerate(files) if name in described]
    found = [described[files[row]] for row in rows]
    return Photos(
        [[tokenize(caption) for caption in captions] for _, captions in found],
        np.array([part for part, _ in found]),
        {name: np.concatenate([e[key] for e in loaded])[rows] for name, key in keys.items()},
    )


def _flickr8k(data: Path) -> dict[str, tuple[str, list[str]]]:
    folder = data / "flickr8k"
    captions: dict[str, list[str]] = {}
    for line in (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        captions.setdefault(name.partition("#")[0], []).append(caption)
    return {
        f"flickr8k/images/{name}": (f"flickr8k {split}", captions[name])
        for split in ("train", "dev")
        for name in (folder / f"Flickr_8k.{split}Images.txt").read_text().split()
    }


def _coco(data: Path) -> dict[str, tuple[str, list[str]]]:
    split_of = {
        name: split
        for split, file in (("train", "train.txt"), ("dev", "test.txt"))
        for name in (COCO_SPLITS / file).read_text().split()
    }
    return {
        f"coco-mini/images/{name}": (f"coco {split_of[name]}", captions)
        for name, _, captions in _coco_form(data / "coco-mini/captions_mini.json")
        if name in split_of
    }


def _broad(data: Path) -> dict[str, tuple[str, list[str]]]:
    found = {}
    for name, image, captions in _coco_form(data / "broad/captions.json"):
        source = f"broad {re.split('[ ,]', image['source'])[0]}"
        found[f"broad/images/{name}"] = f"{source} {image['split']}", captions
    return found


def _coco_form(file: Path) -> list[tuple[str, dict[str, str], list[str]]]:
    """Name, entry and captions of each image."""
    content = json.loads(file.read_text(encoding="utf-8"))
    captions: dict[int, list[str]] = {}
    for each in content["annotations"]:
        captions.setdefault(each["image_id"], []).append(each["caption"])
    return [
        (image["file_name"], image, captions.get(image["id"], [])) for image in content["images"]
    ]


def report(
    tagger: Tagger,
    features: Float32[np.ndarray, "N _"],
    named: Bool[np.ndarray, "N T"],
    parts: np.ndarray,
) -> None:
    """Print precision, recall and number of tags of each source, and how reliable they are."""
    print(tagger.calibration.temperatures, tagger.calibration.thresholds)
    place = {entry.names[0]: tag for tag, entry in enumerate(tagger.classes.file.tags)}
    shown = tagger.tags(features)
    given = np.zeros(named.shape, bool)
    for row, tags in zip(given, shown, strict=True):
        row[[place[tag.tag] for tag in tags]] = True
    implied = given.copy()
    for tag, above in enumerate(tagger.classes.ancestors):
        implied[np.ix_(given[:, tag], list(above))] = True
    probabilities = tagger.probabilities(features)
    kinds = np.array(tagger.kinds)
    print("photos                 n  precision  recall  tags  none    ECE   precision by kind")
    for part in sorted({*parts, "all train", "all dev"}):
        rows = np.char.endswith(parts, part[4:]) if part.startswith("all ") else parts == part
        ours, theirs = given[rows], named[rows]
        by_kind = " ".join(
            f"{kind} {theirs[:, kinds == kind][ours[:, kinds == kind]].mean():.2f}"
            f" of {ours[:, kinds == kind].sum()}"
            for kind in ("detector", "parent", "leaf")
            if ours[:, kinds == kind].any()
        )
        print(
            f"{part:18} {rows.sum():5} {theirs[ours].mean():9.3f}"
            f" {recall(implied[rows], theirs, tagger):8.3f}"
            f" {ours.sum() / rows.sum():5.2f} {(~ours.any(axis=1)).mean():5.2f}"
            f"  {reliability(probabilities[rows], theirs):.4f}  {by_kind}"
        )


def recall(given: Bool[np.ndarray, "N T"], named: Bool[np.ndarray, "N T"], tagger: Tagger) -> float:
    """The fraction of the most particular tags that captions name that are given or implied."""
    particular = named.copy()
    for tag, above in enumerate(tagger.classes.ancestors):
        particular[np.ix_(named[:, tag], list(above))] = False
    particular &= tagger.classes.known.any(axis=0)
    return float(given[particular].mean())


def reliability(found: Float[np.ndarray, "N T"], named: Bool[np.ndarray, "N T"]) -> float:
    """Expected calibration error over the probabilities from .05 on."""
    kept = found >= 0.05
    values, truth = found[kept], named[kept]
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    gaps = [
        abs(values[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean()
        for b in range(BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))
