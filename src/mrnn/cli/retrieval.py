"""Rank photos for sentences and sentences for photos."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mrnn.cli.terminal import progress
from mrnn.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np

    from mrnn.checkpoint import Checkpoint
    from mrnn.dataset import CaptionedImage
    from mrnn.ranking_evaluation import RetrievalScores

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


class Measured(NamedTuple):
    """Figures of retrieval, None where the model cannot rank; and how they were made."""

    scores: "RetrievalScores | None"
    settings: dict[str, Any]
    notes: list[str]


def train_ranking(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    steps: Annotated[int | None, typer.Option(min=1, help="Of training [default: 1000]")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Teach a trained model to rank; its captions stay as they are."""
    from mrnn.checkpoint import Checkpoint
    from mrnn.dataset import Dataset
    from mrnn.joint_space import JointSpaceOptions
    from mrnn.ranking import RANKING
    from mrnn.ranking_training import train_ranker

    checkpoint, dataset = Checkpoint.load(run), Dataset.load(data)
    asked = {"seed": seed} | ({"steps": steps} if steps else {})
    options = JointSpaceOptions.model_validate(asked)
    with progress("Training", options.steps) as advance:
        ranker = train_ranker(checkpoint, dataset, options, advance)
    ranker.save(run)
    weights = ranker.weights
    print(
        f"{run / RANKING}: likeness counts {weights.sentence_to_image:g} nats for images, "
        f"{weights.image_to_sentence:g} for sentences"
    )


def measure_retrieval(
    checkpoint: "Checkpoint",
    run: Path,
    images: "Sequence[CaptionedImage]",
    features: "np.ndarray",
    *,
    exact: bool,
    marginal_images: int | None,
    fold_count: int,
    required: bool,
) -> Measured:
    """Figures of retrieval on some images; with time left on stderr."""
    import torch

    from mrnn.batching import EncodedCaptions
    from mrnn.ranking import CANDIDATES, NEAREST, Ranker
    from mrnn.ranking_evaluation import evaluate_retrieval, pairs_to_score
    from mrnn.recipe import TrainingOptions
    from mrnn.tokenization import tokenize
    from mrnn.training import chosen_precision

    try:
        ranker = Ranker.load(run, checkpoint)
    except CheckpointError as error:
        if required:
            raise
        return Measured(None, {}, [f"retrieval: {error}"])
    words = [[tokenize(caption) for caption in image.captions] for image in images]
    captions = EncodedCaptions.of(words, checkpoint.vocabulary)
    count = min(marginal_images or (len(ranker.sampled) if exact else NEAREST), len(ranker.sampled))
    total = pairs_to_score(len(captions), len(images), count, fold_count, exact=exact)
    precision = "float32" if exact else chosen_precision(TrainingOptions())
    with progress("Ranking", total) as advance:
        scores = evaluate_retrieval(
            ranker, captions, features, exact=exact, marginal_images=count,
            fold_count=fold_count, precision=getattr(torch, precision), on_pairs=advance,
        )  # fmt: skip
    settings = {
        "ranking": "exact" if exact else "fast",
        "likelihoods": "all" if exact else f"of {CANDIDATES} candidates a query",
        "marginal_images": count,
        "candidate_images": len(images) // fold_count,
        "candidate_sentences": len(captions) // fold_count,
        "equal_scores": "by index",
        "ranking_precision": precision,
    }
    return Measured(scores, settings, [])


def retrieval_lines(scores: "RetrievalScores | None") -> Iterator[str]:
    """A table for people."""
    if scores is None:
        return
    yield f"{'retrieval':<34}   R@1   R@5  R@10  median rank"
    for direction in type(scores).model_fields:
        found = getattr(scores, direction)
        yield (
            f"{direction.replace('_', ' '):<34} {found.r_at_1:5.1f} {found.r_at_5:5.1f} "
            f"{found.r_at_10:5.1f}  {found.median_rank:g}"
        )
