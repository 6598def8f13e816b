"""Seconds to score 1,000 captions with 5 references each: `mrnn` beside the reference scorer.

Tokenisation, BLEU, ROUGE-L and CIDEr-D, in turns, in one run; then 1,000 bootstrap resamples. The
captions are made of random words, with the lengths and the repetition of real ones. The reference
side needs Java and `pip install 'mrnn[meteor]'`. Run: make bench
"""

import argparse
import importlib.util
import random
import shutil
import statistics
import time
from collections.abc import Callable

from mrnn.evaluation.captions import RESAMPLES, CaptionStatistics
from mrnn.tokenizer import tokenize

Texts = tuple[list[str], list[list[str]]]


def captions(images: int) -> Texts:
    """Hypotheses, and five references for each; words by Zipf's law."""
    generator = random.Random(0)
    words = [f"{a}{b}{c}{b}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    weights = [1 / place for place in range(1, len(words) + 1)]

    def caption() -> str:
        length = round(min(max(generator.gauss(10.5, 2.5), 5), 25))
        return " ".join(generator.choices(words, weights, k=length)).capitalize() + "."

    return [caption() for _ in range(images)], [
        [caption() for _ in range(5)] for _ in range(images)
    ]


def ours(texts: Texts) -> tuple[float, float]:
    """BLEU-4 and CIDEr-D by `mrnn`."""
    hypotheses = [tokenize(text) for text in texts[0]]
    references = [[tokenize(text) for text in image] for image in texts[1]]
    scores = CaptionStatistics.of(hypotheses, references).of_corpus()
    return scores["bleu_4"], scores["cider"]


def theirs(texts: Texts) -> tuple[float, float]:
    """The same by pycocoevalcap, the scorer of the COCO captions task."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    said = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(texts[0])})
    wrote = tokenizer.tokenize(
        {i: [{"caption": text} for text in image] for i, image in enumerate(texts[1])}
    )
    bleu, _ = Bleu(4).compute_score(wrote, said, verbose=0)
    Rouge().compute_score(wrote, said)
    cider, _ = Cider().compute_score(wrote, said)
    return bleu[3], float(cider)


def seconds(score: Callable[[Texts], object], texts: Texts) -> float:
    """Of one call."""
    start = time.perf_counter()
    score(texts)
    return time.perf_counter() - start


def missing() -> str:
    """What the reference side lacks."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        return "pycocoevalcap is not installed"
    return "" if shutil.which("java") else "there is no Java"


def main() -> None:
    """Both in turns, several times; the median of each counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    texts = captions(arguments.images)
    lack = missing()
    if not lack:
        apart = max(abs(a - b) for a, b in zip(ours(texts), theirs(texts), strict=True))
        print(f"BLEU-4 and CIDEr-D of both differ by {apart:.0e} at most")
    times = [
        (seconds(ours, texts), 0.0 if lack else seconds(theirs, texts))
        for _ in range(arguments.turns)
    ]
    start = time.process_time()
    ours(texts)
    busy = time.process_time() - start
    mine = statistics.median(first for first, _ in times)
    print(
        f"mrnn: {mine:.3f} s for {arguments.images:,} captions with 5 references each; "
        f"{busy:.3f} s of processor time"
    )
    if lack:
        print(f"reference scorer: not measured, {lack}")
    else:
        reference = statistics.median(second for _, second in times)
        ratio = statistics.median(second / first for first, second in times)
        print(f"reference scorer: {reference:.3f} s; median ratio {ratio:.1f}")
    words = [[tokenize(text) for text in image] for image in texts[1]]
    counted = CaptionStatistics.of([tokenize(text) for text in texts[0]], words)
    took = seconds(lambda _: counted.intervals(RESAMPLES, 0), texts)
    print(f"bootstrap: {took:.3f} s for {RESAMPLES:,} resamples of {arguments.images:,} images")


if __name__ == "__main__":
    main()
