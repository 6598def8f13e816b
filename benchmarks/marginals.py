"""Exact ranking: what the marginal gains over 10, 50 and 200 images, and what bfloat16 changes.

Run: python benchmarks/marginals.py DATA [--model RUN] [--split dev] [--limit 300]
Sentences for images by P(sentence | image) / P(sentence), the latter over so many images of train.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.evaluation.evaluate import references_of
from mrnn.metrics.recall import image_to_sentence_ranks, recall_scores
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.retrieval.likelihood import log_likelihoods, log_marginals
from mrnn.training.batches import EncodedCaptions

COUNTS = (0, 10, 50, 200)
TOP = 10


def ranks_of_all(scores: np.ndarray) -> np.ndarray:
    """Of each candidate (column) for each query (row), from 1; equal scores by index."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, scores.shape[1] + 1)[None], axis=1)
    return ranks


def moves(exact: np.ndarray, fast: np.ndarray) -> str:
    """How many of the ranks 1 to 10 are others, and by how much."""
    before, after = ranks_of_all(exact), ranks_of_all(fast)
    by = np.abs(after - before)[before <= TOP]
    return f"{(by > 0).mean():.2%} of {by.size:,} top-ten ranks change, by {by.max()} at most"


def main() -> None:
    """A table, and two lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, default=300)
    arguments = parser.parse_args()
    checkpoint, dataset = Checkpoint.load(arguments.model), Dataset.load(arguments.data)
    images, train = dataset.split(arguments.split)[: arguments.limit], dataset.split("train")
    captions = EncodedCaptions.of(references_of(images), checkpoint.vocabulary)
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: max(COUNTS)]
    shown = [*images, *(train[i] for i in drawn.tolist())]
    features = load_features(dataset, checkpoint.encoder).of(shown)
    pairs = {}
    for precision in (torch.float32, torch.bfloat16):
        start = time.perf_counter()
        pairs[precision] = log_likelihoods(
            checkpoint.model, captions.sentences, features, precision=precision
        )
        seconds = time.perf_counter() - start
        print(f"{precision}: {pairs[precision].size:,} pairs in {seconds:.0f} s")
    count = len(images)
    print(f"{count:,} images, {len(captions):,} sentences")
    print("| P(sentence) over | R@1 | R@5 | R@10 | median rank |\n|---|---|---|---|---|")
    exact = pairs[torch.float32]
    for sampled in COUNTS:
        marginals = log_marginals(exact[:, count : count + sampled]) if sampled else np.zeros(1)
        ranks = image_to_sentence_ranks(
            exact[:, :count] - marginals.reshape(-1, 1), captions.image_rows
        )
        found = recall_scores(ranks)
        print(
            f"| {f'{sampled} images' if sampled else 'not used'} | {found.r_at_1:.1f} "
            f"| {found.r_at_5:.1f} | {found.r_at_10:.1f} | {found.median_rank:g} |"
        )
    both = [pairs[precision] for precision in (torch.float32, torch.bfloat16)]
    sentences = [(p[:, :count] - log_marginals(p[:, count:])[:, None]).T for p in both]
    print(f"bfloat16, sentences for images: {moves(*sentences)}")
    print(f"bfloat16, images for sentences: {moves(*(p[:, :count] for p in both))}")


if __name__ == "__main__":
    main()
