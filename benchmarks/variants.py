"""A table of the network's variants on the dev split of a dataset folder, as Flickr8K's.

Run: python benchmarks/variants.py DATA [--epochs N] [--out FOLDER]
Each variant is the recipe paper with the settings below. Given again, the command resumes an
interrupted run, and keeps what is done. The table goes to stdout and to FOLDER/variants.md.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.errors import MRNNError
from mrnn.evaluation.captions import score_generation
from mrnn.evaluation.evaluate import generate, references_of
from mrnn.model.epochs import EpochDone, read_epochs
from mrnn.training.events import RunFinished, RunStarted
from mrnn.training.recipe import load_recipe
from mrnn.training.train import train

VARIANTS = {
    "the paper's: ReLU-256, scaled tanh, two embeddings": "",
    "sigmoid-256": "recurrence=sigmoid",
    "tanh-256": "recurrence=tanh",
    "GRU-256": "recurrence=gru",
    "LSTM-256": "recurrence=lstm",
    "4 x LSTM-1000": "recurrence=lstm recurrent_layers=4 recurrent_size=1000",
    "plain tanh": "multimodal_activation=tanh",
    "one embedding": "embedding_layers=1 embedding_size=256",
    "transposed weight sharing": "shares_embedding=true",
    "RNN-Base": "sees_image=false",
    "simple RNN": "network=simple-rnn recurrence=sigmoid embedding_layers=1 embedding_size=256 "
    "sees_image=false",
}
SHORTENED = {"4 x LSTM-1000": 2}
"""Variants that take too long, with the most epochs of each."""
COLUMNS = (
    "variant", "epochs", "parameters", "words/s", "train PPL", "PPL after 1", "after 3", "best PPL",
    "BLEU-4", "CIDEr-D",
)  # fmt: skip


def row_of(name: str, dataset: Dataset, epochs: int | None, folder: Path) -> list[str]:
    """Train a variant, or the rest of it, and measure its best epoch."""
    settings = [f"model.{setting}" for setting in VARIANTS[name].split()]
    planned = load_recipe("paper").training.epochs if epochs is None else epochs
    planned = min(planned, SHORTENED.get(name, planned))
    recipe = load_recipe("paper", [*settings, f"training.epochs={planned}"])
    parameters = 0
    for event in train(recipe, dataset, folder, resume=True):
        match event:
            case RunStarted():
                parameters = event.parameters
                print(f"{name}: {event.precision}, {planned} epochs", file=sys.stderr)
            case EpochDone():
                print(f"  {event.epoch}: {event.dev_perplexity:.2f}", file=sys.stderr)
            case RunFinished():
                best = event.best_perplexity
    history = read_epochs(folder)
    captioner = Captioner.for_features(folder)
    images = dataset.split("dev")
    features = load_features(dataset, captioner.checkpoint.encoder).of(images)
    captions = generate(captioner, features, recipe.decoding, recipe.reranking)
    scores = score_generation(captions, references_of(images))
    after = [f"{history[n - 1].dev_perplexity:.2f}" if n <= len(history) else "" for n in (1, 3)]
    return [
        f"{name} (shortened)" if name in SHORTENED else name,
        str(len(history)),
        f"{parameters:,}",
        f"{statistics.median(epoch.words_per_second for epoch in history):,.0f}",
        f"{history[-1].train_perplexity:.2f}",
        *after,
        f"{best:.2f}",
        f"{scores.bleu_4:.3f}",
        f"{scores.cider:.3f}",
    ]


def table(rows: list[list[str]]) -> str:
    """As Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Print a row a variant; a finished row is kept in the variant's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a dataset folder with its features extracted")
    parser.add_argument("--epochs", type=int, help="of each variant; the recipe's if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/variants"))
    arguments = parser.parse_args()
    rows = []
    try:
        dataset = Dataset.load(arguments.data)
        for name in VARIANTS:
            folder = arguments.out / "".join(c if c.isalnum() else "-" for c in name.lower())
            done = folder / "row.json"
            if not done.exists():
                row = row_of(name, dataset, arguments.epochs, folder)
                done.write_text(json.dumps(row), encoding="utf-8")
            rows.append(json.loads(done.read_text(encoding="utf-8")))
    except MRNNError as error:
        sys.exit(str(error))
    arguments.out.joinpath("variants.md").write_text(table(rows), encoding="utf-8")
    print(table(rows), end="")


if __name__ == "__main__":
    main()
