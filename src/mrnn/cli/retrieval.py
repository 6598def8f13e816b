"""Rank photos for sentences and sentences for photos."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mrnn.cli.terminal import progress
from mrnn.errors import CheckpointError

if TYPE_CHECKING:
    from mrnn.caption_scores import Interval, Setting
    from mrnn.checkpoint import Checkpoint
    from mrnn.dataset import CaptionedImage, Dataset
    from mrnn.expected_cider import ExpectedCiderOptions
    from mrnn.joint_space import JointSpaceOptions
    from mrnn.ranking_evaluation import Rank, RetrievalScores

MARGINAL_IMAGES = 200
"""Of the train split, where ranking is exact."""


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


class Measured(NamedTuple):
    """Figures of retrieval, None where the model cannot rank; and how they were made."""

    scores: "RetrievalScores | None"
    intervals: "dict[str, Interval]"
    settings: "dict[str, Setting]"
    notes: list[str]


def train_ranking(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of training each part of the joint space [default: 1000]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
) -> None:
    """Teach a trained model to rank, and to tell which of its captions fit a photo."""
    from mrnn.dataset import Dataset
    from mrnn.joint_space import JointSpaceOptions

    asked = {"seed": seed} | ({"steps": steps} if steps else {})
    teach_to_rank(run, Dataset.load(data), JointSpaceOptions.model_validate(asked))


def teach_to_rank(
    run: Path,
    dataset: "Dataset",
    options: "JointSpaceOptions",
    expected: "ExpectedCiderOptions | None" = None,
) -> None:
    """Train what a model ranks by and keep it beside the model; with time left on stderr."""
    from mrnn.checkpoint import Checkpoint
    from mrnn.ranking_file import RANKING
    from mrnn.ranking_training import train_ranker

    checkpoint = Checkpoint.load(run)
    with progress("Training to rank", options.parts * options.steps) as advance:
        ranker = train_ranker(checkpoint, dataset, options, expected, advance)
    ranker.save(run)
    weights = ranker.weights
    print(
        f"{run / RANKING}: likeness counts {weights.sentence_to_image:g} nats for images, "
        f"{weights.image_to_sentence:g} for sentences"
    )


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
) -> Measured:
    """Figures of retrieval on some images; with time left on stderr."""
    import torch

    from mrnn.batching import EncodedCaptions
    from mrnn.features import load_features
    from mrnn.precision import faster_precision
    from mrnn.ranking_evaluation import evaluate_retrieval, pairs_to_score, retrieval_settings

    try:
        _check_that_it_sees(checkpoint, run)
        rank, count = (_exact if exact else _fast)(checkpoint, run, dataset, marginal_images, seed)
    except CheckpointError as error:
        if required:
            raise
        return Measured(None, {}, {}, [f"retrieval: {error}"])
    captions = EncodedCaptions.of([image.words for image in images], checkpoint.vocabulary)
    features = load_features(dataset, checkpoint.encoder).of(images)
    total = pairs_to_score(len(captions), len(images), count, fold_count, exact=exact)
    numbers = precision or ("float32" if exact else faster_precision())
    with progress("Ranking", total) as advance:
        scores, intervals = evaluate_retrieval(
            rank(precision=getattr(torch, numbers), on_pairs=advance), captions, features,
            fold_count=fold_count, seed=seed,
        )  # fmt: skip
    inside = len(images) - len(images) % fold_count  # of a fold
    settings = retrieval_settings(
        exact=exact,
        marginal_images=count,
        images=len(images) // fold_count,
        sentences=int((captions.image_rows < inside).sum()) // fold_count,
        precision=getattr(torch, numbers),
    )
    fewer = f"retrieval: P(sentence) over {count:,} training images, as there are no more"
    return Measured(scores, intervals, settings, [fewer] if count < (marginal_images or 0) else [])


def _check_that_it_sees(checkpoint: "Checkpoint", run: Path) -> None:
    if not checkpoint.model.config.sees_image:
        raise CheckpointError(f"{run} sees no image, so to it images are all alike")


def _exact(
    checkpoint: "Checkpoint", run: Path, dataset: "Dataset", marginal_images: int | None, seed: int
) -> "tuple[Callable[..., Rank], int]":
    """By every likelihood; and over how many images P(sentence) is taken.

    They are drawn from train by the seed, or are the model's own where there is no train.
    """
    import torch

    from mrnn.features import load_features
    from mrnn.ranking import Ranker
    from mrnn.ranking_evaluation import exact_ranking

    if "train" not in dataset.splits:
        sampled = Ranker.load(run, checkpoint).sampled[:marginal_images]
        return partial(exact_ranking, checkpoint.model, sampled), len(sampled)
    train = dataset.split("train")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(train), generator=random)[: marginal_images or MARGINAL_IMAGES]
    sampled = load_features(dataset, checkpoint.encoder).of([train[i] for i in drawn.tolist()])
    return partial(exact_ranking, checkpoint.model, sampled), len(sampled)


def _fast(
    checkpoint: "Checkpoint", run: Path, _: "Dataset", marginal_images: int | None, __: int
) -> "tuple[Callable[..., Rank], int]":
    """By the joint space; and over how many of the nearest images P(sentence) is."""
    from mrnn.ranking import NEAREST, Ranker
    from mrnn.ranking_evaluation import fast_ranking

    try:
        ranker = Ranker.load(run, checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. --exact ranks without it") from None
    count = min(marginal_images or NEAREST, len(ranker.sampled))
    return partial(fast_ranking, ranker, count), count


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
