"""The paper's measures on a split: perplexity, and the generated sentences against the references.

What is measured is what people run: captions come from the `Captioner`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from mrnn.batching import EncodedCaptions, batches
from mrnn.captioner import Captioner
from mrnn.dataset import CaptionedImage
from mrnn.decoding import DecodingOptions
from mrnn.errors import DataError
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import cider_d
from mrnn.scoring import perplexity
from mrnn.tokenization import tokenize

IMAGES_AT_ONCE = 100
CAPTIONS_AT_ONCE = 128

Setting = str | int | float | tuple[str, ...]


class GenerationScores(BaseModel):
    """How near generated sentences are to the references, words by `mrnn.tokenization`."""

    model_config = ConfigDict(frozen=True)

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    cider: float
    """CIDEr-D, document frequencies from these references."""
    distinct: float
    """Share of different captions among all: near 0 where every photo gets the same."""


class EvaluationReport(BaseModel):
    """The figures of one model on one split; None where a task was not asked for."""

    model_config = ConfigDict(frozen=True)

    perplexity: float | None
    generation: GenerationScores | None
    settings: dict[str, Setting]


def evaluate(
    captioner: Captioner,
    images: Sequence[CaptionedImage],
    features: np.ndarray,
    *,
    tasks: Sequence[str] = ("perplexity", "generation"),
    options: DecodingOptions | None = None,
    on_image: Callable[[int], None] = lambda _: None,
) -> EvaluationReport:
    """Figures on `images`, whose `features` (N x F) come in the same order."""
    references = references_of(images)
    checkpoint = captioner.checkpoint
    options = options or checkpoint.decoding
    bits, generation = None, None
    if "perplexity" in tasks:
        captions = EncodedCaptions.of(references, checkpoint.vocabulary)
        bits = perplexity(checkpoint.model, batches(captions, features, CAPTIONS_AT_ONCE))
    if "generation" in tasks:
        generated = generate(captioner, features, options, on_image)
        generation = score_generation(generated, references)
    settings: dict[str, Setting] = {
        "recipe": checkpoint.recipe,
        "encoder": str(checkpoint.encoder),
        "images": len(images),
        "references": sum(map(len, references)),
        **options.model_dump(),
    }
    if captioner.consensus is not None:
        settings |= captioner.consensus.settings
    return EvaluationReport(perplexity=bits, generation=generation, settings=settings)


def generate(
    captioner: Captioner,
    features: np.ndarray,
    options: DecodingOptions,
    on_image: Callable[[int], None] = lambda _: None,
) -> list[list[str]]:
    """The words of the best caption for each row of `features` (N x F)."""
    generated = []
    for start in range(0, len(features), IMAGES_AT_ONCE):
        block = torch.from_numpy(features[start : start + IMAGES_AT_ONCE].astype(np.float32))
        captions = captioner.describe(block, options)
        generated += [[word.word for word in best.words] for best, *_ in captions]
        on_image(len(block))
    return generated


def references_of(images: Sequence[CaptionedImage]) -> list[list[list[str]]]:
    """The tokenized captions of each image; every image must have one."""
    if not images:
        raise DataError("There are no images to evaluate on")
    for image in images:
        if not image.captions:
            raise DataError(f"{image.name} has no caption to compare with; run `mrnn check`")
    return [[tokenize(caption) for caption in image.captions] for image in images]


def score_generation(
    generated: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> GenerationScores:
    """BLEU, CIDEr-D and the share of distinct captions."""
    bleu = corpus_bleu(generated, references)
    return GenerationScores(
        **{f"bleu_{n}": value for n, value in enumerate(bleu, 1)},
        cider=float(np.mean(cider_d(generated, references))),
        distinct=len({tuple(words) for words in generated}) / len(generated),
    )
