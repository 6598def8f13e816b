"""The paper's table: simple RNN, RNN-Base, m-RNN and the model that ships, on one split.

Run: python benchmarks/paper_table.py DATA --runs FOLDER [--two-stage]
FOLDER holds the runs simple-rnn, rnn-base and paper; what is missing or unfinished is trained.
Exhaustive retrieval takes long; --two-stage leaves it out for models with heads. Finished figures
are kept in FOLDER/figures for the next time. The tables go to stdout and to FOLDER/paper_table.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import Consensus
from mrnn.cli.terminal import progress
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import load_features
from mrnn.errors import MRNNError
from mrnn.evaluation.captions import Interval
from mrnn.evaluation.evaluate import EvaluationReport, evaluate, references_of
from mrnn.evaluation.retrieval import SAMPLED, evaluate_retrieval, marginal_features, pair_count
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.epochs import EpochDone
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.recipe import load_recipe
from mrnn.training.train import train

MODELS = {
    "simple RNN": "simple-rnn",
    "RNN-Base": "rnn-base",
    "m-RNN of the paper's sizes": "paper",
    "the model that ships": None,
}
"""The recipe of each; None for the one that ships."""
MEASURES = {
    "perplexity": "PPL", "bleu_1": "B-1", "bleu_2": "B-2", "bleu_3": "B-3", "bleu_4": "B-4",
    "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "invented": "invented",
    "things_recall": "things", "distinct": "distinct", "novel": "novel",
}  # fmt: skip
DIRECTIONS = {"image_to_sentence": "i to s", "sentence_to_image": "s to i"}
FIGURES = {"r@1": "R@1", "r@5": "R@5", "r@10": "R@10", "median_rank": "median"}
PAPER = "*paper: m-RNN-AlexNet, test split*"
PAPER_GENERATION = ["24.39 [R]", ".565 [R]", ".386 [R]", ".256 [R]", ".170 [R]", *["-"] * 7]
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
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def model_of(recipe: str | None, dataset: Dataset, runs: Path) -> Path:
    """The folder of a recipe's model, trained as far as needed; or of the model that ships."""
    if recipe is None:
        return DEFAULT_MODEL
    for event in train(load_recipe(recipe), dataset, runs / recipe, resume=True):
        if isinstance(event, EpochDone):
            print(f"{recipe} {event.epoch}: {event.dev_perplexity:.2f}", file=sys.stderr)
    return runs / recipe


def generation_rows(
    name: str, checkpoint: Checkpoint, dataset: Dataset, images: Sequence[CaptionedImage]
) -> tuple[list[list[str]], list[str]]:
    """Greedy and beam search, with reranking where the model has it; and notes."""
    features = load_features(dataset, checkpoint.encoder).of(images)
    rows, notes = [], []
    for how, (decoding, reranking, consensus) in ways_of(checkpoint, dataset).items():
        report = evaluate(
            Captioner(checkpoint, consensus=consensus), images, features,
            decoding=decoding, reranking=reranking, training=dataset.split("train"),
        )  # fmt: skip
        rows.append([f"{name}, {how}", *_generation_cells(report)])
        notes += report.notes
    return rows, notes


def ways_of(
    checkpoint: Checkpoint, dataset: Dataset
) -> dict[str, tuple[DecodingOptions, RerankingOptions, Consensus | None]]:
    """How a model makes captions."""
    beam = checkpoint.config.decoding.model_copy(update={"n_best": 1})
    own, none = checkpoint.config.reranking, RerankingOptions()
    greedy = beam.model_copy(update={"beam_size": 1})
    ways = {"greedy": (greedy, none, None), f"beam {beam.beam_size}": (beam, none, None)}
    if checkpoint.heads and own.weights:
        ways["the same, reranked"] = (beam, own, None)
    if checkpoint.folder == DEFAULT_MODEL:
        consensus = Consensus.load(dataset.folder, checkpoint)
        ways["the same, by consensus too"] = (beam, own, consensus)
    return ways


def _generation_cells(report: EvaluationReport) -> list[str]:
    figures = {"perplexity": report.perplexity} | dict(report.generation or ())
    return [
        cell(figures[key], report.intervals.get(key), 2 if key == "perplexity" else 3)
        for key in MEASURES
    ]


def retrieval_row(
    checkpoint: Checkpoint, dataset: Dataset, images: Sequence[CaptionedImage], *, exhaustive: bool
) -> list[str]:
    """R@K and median rank both ways, as `mrnn evaluate` has them."""
    captions = EncodedCaptions.of(references_of(images), checkpoint.vocabulary)
    pairs = pair_count(len(captions), len(images), exhaustive=exhaustive, marginal_images=None)
    with progress("Likelihoods", pairs) as advance:
        report = evaluate_retrieval(
            checkpoint.network, captions, load_features(dataset, checkpoint.encoder).of(images),
            heads=None if exhaustive else checkpoint.heads,
            sampled=marginal_features(dataset, checkpoint) if exhaustive else None,
            on_pairs=advance,
        )  # fmt: skip
    found = report.scores.model_dump(by_alias=True)
    return [
        cell(found[way][key], report.intervals[f"{way}.{key}"], 1)
        for way in DIRECTIONS
        for key in FIGURES
    ]


def kept(file: Path, make: Callable[[], list[str]]) -> list[str]:
    """Figures in a file, or made and written there."""
    if not file.exists():
        figures = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures), encoding="utf-8")
    figures = json.loads(file.read_text(encoding="utf-8"))
    return [str(figure) for figure in figures]


def retrieval_rows(
    name: str,
    checkpoint: Checkpoint,
    dataset: Dataset,
    images: Sequence[CaptionedImage],
    arguments: argparse.Namespace,
) -> list[list[str]]:
    """Exhaustive and two-stage retrieval, as far as the model and the arguments allow."""
    if not checkpoint.network.config.sees_image:
        return [[name, *["-"] * len(PAPER_RETRIEVAL)]]
    rows = []
    if not (checkpoint.heads and arguments.two_stage):
        part = f"{checkpoint.fingerprint}-{images[0].split}-{len(images)}.json"
        figures = kept(
            arguments.runs / "figures" / part,
            lambda: retrieval_row(checkpoint, dataset, images, exhaustive=True),
        )
        rows.append([f"{name}, exhaustive", *figures])
    if checkpoint.heads:
        figures = retrieval_row(checkpoint, dataset, images, exhaustive=False)
        rows.append([f"{name}, two-stage", *figures])
    return rows


def both_tables(arguments: argparse.Namespace) -> str:
    """The tables, with what they depend on; also written to a file."""
    dataset = Dataset.load(arguments.data)
    images = dataset.split(arguments.split)[: arguments.limit]
    generation, retrieval = [[PAPER, *PAPER_GENERATION]], [[PAPER, *PAPER_RETRIEVAL]]
    notes = []
    for name, recipe in MODELS.items():
        checkpoint = Checkpoint.load(model_of(recipe, dataset, arguments.runs))
        rows, odd = generation_rows(name, checkpoint, dataset, images)
        generation += rows
        notes += odd
        retrieval += retrieval_rows(name, checkpoint, dataset, images, arguments)
    ways = [f"{way} {figure}" for way in DIRECTIONS.values() for figure in FIGURES.values()]
    count = sum(len(image.captions) for image in images)
    text = "\n".join([
        table(["captions", *MEASURES.values()], generation),
        table(["retrieval", *ways], retrieval),
        f"{arguments.split} of {arguments.data}: {len(images):,} images and {count:,} captions, "
        "all of them candidates.",
        f"Exhaustive retrieval takes P(sentence) over {SAMPLED} images of train.",
        *dict.fromkeys(notes),
        TAGS.strip(),
        "",
    ])  # fmt: skip
    (arguments.runs / "paper_table.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a dataset folder with its features extracted")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--two-stage", action="store_true", help="no exhaustive retrieval by heads")
    arguments = parser.parse_args()
    try:
        print(both_tables(arguments), end="")
    except MRNNError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
