"""Rank photos for sentences and sentences for photos."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import progress
from mrnn.errors import CheckpointError

if TYPE_CHECKING:
    from mrnn.data.dataset import CaptionedImage, Dataset
    from mrnn.evaluation.captions import Interval, Setting
    from mrnn.evaluation.retrieval import RetrievalScores, Retrieved
    from mrnn.model.checkpoint import Checkpoint


class Precision(StrEnum):
    """Numbers that likelihoods are worked out in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Exact = Annotated[
    bool, typer.Option("--exact", help="retrieval: by the likelihood of every pair, as the paper")
]
MarginalImages = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="retrieval: training images for P(sentence) [default: the 10 nearest; exact: 200]",
    ),
]
Folds = Annotated[
    int, typer.Option("--folds", min=1, help="retrieval: means over so many parts of the split")
]
RankingPrecision = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="retrieval: of the output layer's product [default: the faster here; exact: float32]",
    ),
]


def measure_retrieval(
    checkpoint: "Checkpoint",
    run: Path,
    dataset: "Dataset",
    images: "Sequence[CaptionedImage]",
    *,
    exact: bool,
    marginal_images: int | None,
    fold_count: int,
    precision: Precision | None,
    seed: int,
    required: bool,
) -> "Retrieved":
    """Figures of retrieval on some images; with time left on stderr."""
    import torch

    from mrnn.data.features import load_features
    from mrnn.evaluation.retrieval import RankingPlan, Retrieved
    from mrnn.tokenizer import EncodedCaptions

    try:
        if exact:
            plan = RankingPlan.exactly(run, checkpoint, dataset, marginal_images, seed)
        else:
            plan = RankingPlan.fast(run, checkpoint, marginal_images)
    except CheckpointError as error:
        if required:
            raise
        return Retrieved(None, {}, {}, [f"retrieval: {error}"])
    captions = EncodedCaptions.of([image.words for image in images], checkpoint.vocabulary)
    features = load_features(dataset, checkpoint.encoder).of(images)
    total = plan.pairs(len(captions), len(images), fold_count)
    with progress("Ranking", total) as advance:
        return plan.measure(
            captions, features,
            fold_count=fold_count, seed=seed, on_pairs=advance,
            precision=getattr(torch, precision) if precision else None,
        )  # fmt: skip


def retrieval_lines(
    scores: "RetrievalScores | None",
    intervals: "dict[str, Interval]",
    settings: "dict[str, Setting]",
) -> Iterator[str]:
    """A table for people."""
    if scores is None:
        return
    yield f"{'retrieval':<34}   R@1   R@5  R@10  median and mean rank"
    for direction in type(scores).model_fields:
        found = getattr(scores, direction)
        keys = ("r@1", "r@5", "r@10", "median_rank", "mean_rank")
        lows, highs = zip(*(intervals[f"{direction}.{key}"] for key in keys), strict=True)
        yield _row(direction.replace("_", " "), list(found.model_dump().values()))
        yield _row("   95 % interval, from", lows)
        yield _row("                    to", highs)
    exact = settings["ranking"] == "exact"
    yield (
        f"candidates: {settings['candidate_images']:,} images, "
        f"{settings['candidate_sentences']:,} sentences; equal scores {settings['equal_scores']}; "
        "an image's first sentence found counts"
    )
    yield (
        f"ranking {settings['ranking']}: likelihoods {'of ' if exact else ''}"
        f"{settings['likelihoods']}, in {settings['ranking_precision']}; P(sentence) over "
        f"{settings['marginal_images']:,} {'random' if exact else 'near'} training images"
    )
    if settings["ranking_precision"] == "bfloat16":
        yield "bfloat16: near ranks may change places; --precision float32 is the reference"


def _row(name: str, figures: "Sequence[float]") -> str:
    *recalls, median, mean = figures
    return (
        f"{name:<34} {' '.join(f'{recall:5.1f}' for recall in recalls)} {median:7.1f} {mean:8.1f}"
    )
