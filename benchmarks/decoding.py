"""Ways of searching on a split: by likelihood, and by what fits the photo too; quality and speed.

Run: python benchmarks/decoding.py DATA [--model RUN] [--split dev] [--limit N]
Prints a markdown table. Speed is that of decoding alone, from features that are there already.
"""

import argparse
import time
from pathlib import Path

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.evaluation.captions import score
from mrnn.evaluation.evaluate import generate, references_of
from mrnn.model.checkpoint import DEFAULT_MODEL

BEAM_SIZES = (1, 2, 3, 5, 10, 20, 50)


def main() -> None:
    """A row for each beam, and one for what the model does by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    captioner = Captioner.load(arguments.model)
    dataset = Dataset.load(arguments.data)
    images = dataset.split(arguments.split)[: arguments.limit]
    features = load_features(dataset, captioner.checkpoint.encoder).of(images)
    references = references_of(images)
    print("| decoding | BLEU-4 | METEOR | CIDEr-D | distinct | captions/s |")
    print("|---|---|---|---|---|---|")
    default = captioner.checkpoint.decoding
    ways = {
        "greedy" if size == 1 else f"beam {size}": default.by_likelihood.model_copy(
            update={"beam_size": size}
        )
        for size in BEAM_SIZES
    }
    ways[f"default: beam {default.beam_size}, what fits"] = default
    for name, options in ways.items():
        start = time.perf_counter()
        generated = generate(captioner, features, options)
        speed = len(images) / (time.perf_counter() - start)
        scores = score(generated, references)[0].generation
        meteor = "n/a" if scores.meteor is None else f"{scores.meteor:.3f}"
        print(
            f"| {name} | {scores.bleu_4:.3f} | {meteor} | {scores.cider:.3f} "
            f"| {scores.distinct:.1%} | {speed:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
