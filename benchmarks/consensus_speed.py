"""Time to re-rank 1,000 images x 10 hypotheses by 300 captions each, and the plain way beside it.

Sentences are random words at the frequencies and lengths of real captions. Run: make bench
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.metrics.sentence_similarity import Corpus

IMAGES, CAPTIONS, LISTS, HYPOTHESES, NEIGHBOURS = 6000, 5, 1000, 10, 60
PLAIN = 5
"""Lists that are done the plain way; the time of all is reckoned from theirs."""


def sentences(generator: np.random.Generator, groups: int, each: int) -> list[list[list[str]]]:
    """Seven to sixteen words, the n-th most frequent about 1 / n as often as the first."""
    made = []
    for _ in range(groups):
        ranks = generator.zipf(1.3, (each, 16)) % 7000
        lengths = generator.integers(7, 17, each)
        made.append(
            [[f"w{n}" for n in own[:size]] for own, size in zip(ranks, lengths, strict=True)]
        )
    return made


def timed(what: str, call: Callable[[], object]) -> float:
    """Seconds of a call, told."""
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    print(f"{what:<52} {seconds:6.2f} s")
    return seconds


def main() -> None:
    """A line each."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    generator = np.random.default_rng(0)
    training, lists = (
        sentences(generator, IMAGES, CAPTIONS),
        sentences(generator, LISTS, HYPOTHESES),
    )
    near = [generator.choice(IMAGES, NEIGHBOURS, replace=False).tolist() for _ in lists]
    timed("30,000 training captions made ready, once", lambda: Corpus(training))
    corpus = Corpus(training)
    rows = [corpus.rows_of(places) for places in near]
    for measure in ("cider", "bleu"):
        what = f"{LISTS:,} x {HYPOTHESES} x {NEIGHBOURS * CAPTIONS} pairs by {measure}"
        timed(what, lambda measure=measure: list(corpus.compare(lists, rows, measure)))
    frequencies = DocumentFrequencies.of(training)

    def plain() -> None:
        for own, places in zip(lists[:PLAIN], near[:PLAIN], strict=True):
            others = [words for place in places for words in training[place]]
            for words in own:
                cider_d([words] * len(others), [[other] for other in others], frequencies)

    seconds = timed(f"a pair at a time by cider, {PLAIN} images", plain)
    print(f"{'  which for all is':<52} {seconds * LISTS / PLAIN:6.0f} s")


if __name__ == "__main__":
    main()
