"""What likeness of photo and caption is worth beside likelihood and consensus, on halves of dev.

Run: python benchmarks/likeness.py DATA [--model RUN]
The half that is chosen on and the half that is reported on are drawn by a fixed seed. Prints a
table in Markdown: BLEU-4 and CIDEr-D of both halves and of the whole, and the share of captions
that are distinct. Consensus is by the captions of DATA's train split.
"""

import argparse
from pathlib import Path

import numpy as np

from mrnn.caption_scores import score_generation
from mrnn.captioner import Captioner
from mrnn.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.consensus import Consensus
from mrnn.dataset import Dataset
from mrnn.evaluation import generate, references_of
from mrnn.features import load_features
from mrnn.ranking import Ranker

BEAMS = (5, 10, 20)
WEIGHTS = (0.0, 1.0, 2.0, 3.0)
COLUMNS = ("beam", "consensus", "likeness", "chosen on", "reported on", "all", "distinct")


def main() -> None:
    """A row for each beam and weight, alone and with consensus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a dataset folder with its features extracted")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    arguments = parser.parse_args()
    dataset = Dataset.load(arguments.data)
    images, checkpoint = dataset.split("dev"), Checkpoint.load(arguments.model)
    features = load_features(dataset, checkpoint.encoder).of(images)
    references = references_of(images)
    ranker = Ranker.load(arguments.model, checkpoint)
    order = np.random.default_rng(0).permutation(len(images))
    halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    print(f"| {' | '.join(COLUMNS)} |\n| {' | '.join(['---'] * len(COLUMNS))} |")
    for consensus in (None, Consensus.load(arguments.data, checkpoint)):
        captioner = Captioner(checkpoint, consensus=consensus, ranker=ranker)
        for beam in BEAMS if consensus is None else BEAMS[1:]:  # it ranks ten at least
            for weight in WEIGHTS:
                options = checkpoint.decoding.model_copy(
                    update={"beam_size": beam, "n_best": 1 if consensus is None else beam}
                    | {"likeness": weight}
                )
                captions = generate(captioner, features, options)
                figures = []
                for rows in (*halves, range(len(images))):
                    scores = score_generation(
                        [captions[row] for row in rows], [references[row] for row in rows]
                    )
                    figures.append(f"{scores.bleu_4:.3f}, {scores.cider:.3f}")
                source = "no" if consensus is None else "yes"
                cells = [str(beam), source, f"{weight:g}", *figures, f"{scores.distinct:.0%}"]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
