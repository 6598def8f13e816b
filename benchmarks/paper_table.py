"""The paper's table: simple RNN, RNN-Base, m-RNN and the model that ships, on one split.

Run: python benchmarks/paper_table.py DATA --runs FOLDER [--precision bfloat16] [--fast]
FOLDER holds the runs simple-rnn, rnn-base and paper-lite; what is not there, or not finished, is
trained. Likelihoods of all pairs, the long part, are kept in FOLDER too, so that the command can be
given again. The tables go to stdout and to FOLDER/paper_table.md.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import Consensus
from mrnn.cli.terminal import progress
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import load_features
from mrnn.errors import MRNNError
from mrnn.evaluation.captions import Interval
from mrnn.evaluation.evaluate import EvaluationReport, evaluate, references_of
from mrnn.evaluation.retrieval import MARGINAL_IMAGES, evaluate_retrieval, fast_ranking
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.model.config import DecodingOptions
from mrnn.model.heads import RANKING
from mrnn.retrieval.likelihood import log_likelihoods, log_marginals
from mrnn.retrieval.ranking import Ranker, Rankings
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.events import EpochDone
from mrnn.training.recipe import load_recipe
from mrnn.training.train import train

MODELS = {
    "simple RNN": "simple-rnn",
    "RNN-Base": "rnn-base",
    "m-RNN of the paper's sizes": "paper-lite",
    "the model that ships": None,
}
"""Each with its recipe."""
MEASURES = {
    "perplexity": "PPL", "bleu_1": "B-1", "bleu_2": "B-2", "bleu_3": "B-3", "bleu_4": "B-4",
    "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "distinct": "distinct",
    "novel": "novel",
}  # fmt: skip
DIRECTIONS = {"image_to_sentence": "i to s", "sentence_to_image": "s to i"}
FIGURES = {"r@1": "R@1", "r@5": "R@5", "r@10": "R@10", "median_rank": "median"}
PAPER = "*paper: m-RNN-AlexNet, test split*"
PAPER_GENERATION = ["24.39 [R]", ".565 [R]", ".386 [R]", ".256 [R]", ".170 [R]", *["-"] * 5]
PAPER_RETRIEVAL = [
    "14.5 [Q]", "37.2 [Q]", "48.5 [Q]", "(11) [M]", "11.5 [Q]", "31.0 [Q]", "42.4 [Q]", "(15) [M]",
]  # fmt: skip
TAGS = """
Of the paper's figures, [R] are in a published review of it and [Q] in a later public table; those
in brackets, [M], are from memory and unchecked, so not to be quoted as the paper's. Its photos,
features and split are others. In brackets elsewhere: the 95 % interval over images.
"""


def cell(value: float | None, interval: Interval | None, digits: int) -> str:
    """A figure with its interval."""
    if value is None:
        return "null"
    figure = f"{value:.{digits}f}"
    if interval is None:
        return figure
    return f"{figure} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def checkpoint_of(recipe: str | None, dataset: Dataset, runs: Path) -> tuple[Path, Checkpoint]:
    """The model of a recipe, trained as far as it must be; the one that ships without a recipe."""
    if recipe is None:
        return DEFAULT_MODEL, Checkpoint.load(DEFAULT_MODEL)
    folder = runs / recipe
    for event in train(load_recipe(recipe), dataset, folder, resume=True):
        if isinstance(event, EpochDone):
            print(f"{recipe} {event.epoch}: {event.dev_perplexity:.2f}", file=sys.stderr)
    return folder, Checkpoint.load(folder)


def generation_rows(
    name: str,
    folder: Path,
    checkpoint: Checkpoint,
    dataset: Dataset,
    images: Sequence[CaptionedImage],
) -> tuple[list[list[str]], list[str]]:
    """Greedy and beam, the model that ships also by consensus, and what could not be measured."""
    features = load_features(dataset, checkpoint.encoder).of(images)
    rows, notes = [], []
    own = checkpoint.decoding.model_copy(update={"n_best": 1})
    ranker = Ranker.find(folder, checkpoint)
    ways: dict[str, tuple[DecodingOptions, Consensus | None]] = {
        "greedy": (own.model_copy(update={"beam_size": 1}), None),
        f"beam {own.beam_size}": (own, None),
    }
    if ranker and own.fit_weights:
        likely = (own.by_likelihood, None)
        ways = {"greedy": ways["greedy"], f"beam {own.beam_size} by likelihood": likely}
        ways[f"beam {own.beam_size}, by fit too"] = (own, None)
    if folder == DEFAULT_MODEL:
        ways["the same, re-ranked"] = (
            own,
            Consensus.load(dataset.folder, checkpoint, ranker=ranker),
        )
    for how, (options, consensus) in ways.items():
        report = evaluate(
            Captioner(checkpoint, consensus=consensus, ranker=ranker), images, features,
            options=options, training=dataset.split("train"),
        )  # fmt: skip
        rows.append([f"{name}, {how}", *_generation_cells(report)])
        notes += report.notes
    return rows, notes


def _generation_cells(report: EvaluationReport) -> list[str]:
    figures = {"perplexity": report.perplexity} | dict(report.generation or ())
    return [
        cell(figures[key], report.intervals.get(key), 2 if key == "perplexity" else 3)
        for key in MEASURES
    ]


def exactly(
    checkpoint: Checkpoint,
    dataset: Dataset,
    images: Sequence[CaptionedImage],
    precision: str,
    runs: Path,
) -> Rankings:
    """As `mrnn evaluate --exact` ranks; what it takes is kept in a file."""
    captions = EncodedCaptions.of(references_of(images), checkpoint.vocabulary)
    train_images = dataset.split("train")
    random = torch.Generator().manual_seed(0)
    drawn = torch.randperm(len(train_images), generator=random)[:MARGINAL_IMAGES].tolist()
    every = [*images, *(train_images[i] for i in drawn)]
    name = f"{checkpoint.fingerprint}-{images[0].split}-{len(images)}-{precision}.npy"
    file = runs / "likelihoods" / name
    if not file.exists():
        with progress("Ranking", len(captions) * len(every)) as advance:
            pairs = log_likelihoods(
                checkpoint.model, captions.sentences,
                load_features(dataset, checkpoint.encoder).of(every),
                precision=getattr(torch, precision), on_pairs=advance,
            )  # fmt: skip
        file.parent.mkdir(exist_ok=True)
        np.save(file, pairs)
    pairs = np.load(file)
    scores, marginals = pairs[:, : len(images)], log_marginals(pairs[:, len(images) :])
    return Rankings(scores, scores - marginals[:, None], scores)


def retrieval_row(
    name: str,
    rank: Callable[..., Rankings],
    captions: EncodedCaptions,
    features: np.ndarray,
) -> list[str]:
    """R@K and median rank both ways."""
    scores, intervals = evaluate_retrieval(rank, captions, features)
    found = scores.model_dump()
    return [
        name,
        *(
            cell(found[way][key], intervals[f"{way}.{key}"], 1)
            for way in DIRECTIONS
            for key in FIGURES
        ),
    ]


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a dataset folder with its features extracted")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--fast", action="store_true", help="rank exactly only what must be")
    arguments = parser.parse_args()
    try:
        print(both_tables(arguments), end="")
    except MRNNError as error:
        sys.exit(str(error))


def both_tables(arguments: argparse.Namespace) -> str:
    """The tables, with what they depend on; also in a file."""
    dataset = Dataset.load(arguments.data)
    images = dataset.split(arguments.split)[: arguments.limit]
    told, found, notes = [[PAPER, *PAPER_GENERATION]], [[PAPER, *PAPER_RETRIEVAL]], []
    for name, recipe in MODELS.items():
        folder, checkpoint = checkpoint_of(recipe, dataset, arguments.runs)
        rows, odd = generation_rows(name, folder, checkpoint, dataset, images)
        told += rows
        notes += odd
        if not checkpoint.model.config.sees_image:
            found.append([name, *["-"] * len(PAPER_RETRIEVAL)])
            continue
        captions = EncodedCaptions.of(references_of(images), checkpoint.vocabulary)
        features = load_features(dataset, checkpoint.encoder).of(images)
        ranks = (folder / RANKING).exists()
        if not (ranks and arguments.fast):
            exact = exactly(checkpoint, dataset, images, arguments.precision, arguments.runs)
            found.append(retrieval_row(f"{name}, exact", lambda *_, e=exact: e, captions, features))
        if ranks:
            fast = fast_ranking(Ranker.load(folder, checkpoint))
            found.append(retrieval_row(f"{name}, fast", fast, captions, features))
    ways = [f"{way} {figure}" for way in DIRECTIONS.values() for figure in FIGURES.values()]
    count = sum(len(image.captions) for image in images)
    text = "\n".join([
        table(["captions", *MEASURES.values()], told),
        table(["retrieval", *ways], found),
        f"{arguments.split} of {arguments.data}: {len(images):,} images and {count:,} captions, "
        "all of them candidates.",
        f"Exact likelihoods in {arguments.precision}, P(sentence) over {MARGINAL_IMAGES} images of "
        "train; fast ones in float32.",
        *dict.fromkeys(notes),
        TAGS.strip(),
        "",
    ])  # fmt: skip
    (arguments.runs / "paper_table.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
