"""Figures of retrieval."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import progress

if TYPE_CHECKING:
    from mrnn.data.dataset import CaptionedImage, Dataset
    from mrnn.evaluation.captions import Interval
    from mrnn.evaluation.retrieval import RetrievalReport, RetrievalScores
    from mrnn.evaluation.settings import Setting
    from mrnn.model.checkpoint import Checkpoint

Exhaustive = Annotated[
    bool,
    typer.Option("--exhaustive", help="retrieval: by the likelihood of all pairs, as the paper"),
]
MarginalImages = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="retrieval: training images for P(sentence) "
        "[default: the 10 nearest; exhaustive: 200]",
    ),
]
Folds = Annotated[
    int, typer.Option("--folds", min=1, help="retrieval: means over so many parts of the split")
]


def measure_retrieval(
    checkpoint: "Checkpoint",
    dataset: "Dataset",
    images: "Sequence[CaptionedImage]",
    *,
    exhaustive: bool,
    marginal_images: int | None,
    folds: int,
    seed: int,
) -> "RetrievalReport":
    """Figures of retrieval on some images, with progress on stderr. Raises CheckpointError."""
    from mrnn.data.features import load_features
    from mrnn.evaluation.retrieval import evaluate_retrieval, marginal_features, pair_count
    from mrnn.tokenizer import EncodedCaptions

    captions = EncodedCaptions.of([image.words for image in images], checkpoint.vocabulary)
    features = load_features(dataset, checkpoint.encoder).of(images)
    sampled = None
    if exhaustive:
        sampled = marginal_features(dataset, checkpoint, marginal_images, seed)
    total = pair_count(
        len(captions), len(images),
        exhaustive=exhaustive, marginal_images=marginal_images, folds=folds,
    )  # fmt: skip
    with progress("Retrieval", total) as advance:
        return evaluate_retrieval(
            checkpoint.network, captions, features,
            heads=checkpoint.heads, sampled=sampled, marginal_images=marginal_images,
            folds=folds, seed=seed, on_pairs=advance,
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
    yield (
        f"candidates: {settings['candidate_images']:,} images, "
        f"{settings['candidate_sentences']:,} sentences; equal scores {settings['equal_scores']}; "
        "an image's first sentence found counts"
    )
    photos = "random" if settings["retrieval"] == "exhaustive" else "near"
    yield (
        f"{settings['retrieval']} retrieval: likelihoods {settings['likelihoods']}; P(sentence) "
        f"over {settings['marginal_images']:,} {photos} training images"
    )


def _row(name: str, figures: "Sequence[float]") -> str:
    *recalls, median, mean = figures
    return (
        f"{name:<34} {' '.join(f'{recall:5.1f}' for recall in recalls)} {median:7.1f} {mean:8.1f}"
    )
