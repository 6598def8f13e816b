"""The paper's measures on a split: perplexity, and the generated sentences against the references.

What is measured is what people run: captions come from the `Captioner`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from mrnn.batching import Batch, EncodedCaptions, batches
from mrnn.caption_scores import GenerationScores, Interval, ScoreReport, Setting, score
from mrnn.captioner import Captioner
from mrnn.dataset import CaptionedImage
from mrnn.decoding import DecodingOptions
from mrnn.errors import DataError
from mrnn.model import IGNORED
from mrnn.ranking_evaluation import RetrievalScores
from mrnn.scoring import perplexity
from mrnn.tokenization import join_words, tokenize
from mrnn.vocabulary import Vocabulary

IMAGES_AT_ONCE = 100
CAPTIONS_AT_ONCE = 128


class EvaluationReport(BaseModel):
    """The figures of one model on one split; None where a task was not asked for."""

    model_config = ConfigDict(frozen=True)

    perplexity: float | None
    """Of the words, unknown ones and end signs counted."""
    generation: GenerationScores | None
    retrieval: RetrievalScores | None = None
    perplexity_without_end: float | None
    """Of the words alone."""
    settings: dict[str, Setting]
    intervals: dict[str, Interval] = {}
    """The middle 95 % of what most measures in `generation` are on resampled images."""
    notes: list[str] = []
    """What is null, and why; what is odd."""
    captions: tuple[str, ...] = Field((), exclude=True)
    """What was said of each image; not in the JSON."""


def evaluate(
    captioner: Captioner,
    images: Sequence[CaptionedImage],
    features: np.ndarray,
    *,
    tasks: Sequence[str] = ("perplexity", "generation"),
    options: DecodingOptions | None = None,
    with_meteor: bool = True,
    on_image: Callable[[int], None] = lambda _: None,
) -> EvaluationReport:
    """Figures on `images`, whose `features` (N x F) come in the same order."""
    references = references_of(images)
    checkpoint = captioner.checkpoint
    options = options or checkpoint.decoding
    settings: dict[str, Setting] = {
        "recipe": checkpoint.recipe,
        "encoder": str(checkpoint.encoder),
        "images": len(images),
        "references": sum(map(len, references)),
    }
    if captioner.consensus is not None:
        settings |= captioner.consensus.settings
    whole, words = None, None
    if "perplexity" in tasks:
        captions = EncodedCaptions.of(references, checkpoint.vocabulary)
        whole, words = (
            perplexity(checkpoint.model, counted(batches(captions, features, CAPTIONS_AT_ONCE)))
            for counted in (iter, without_end)
        )
        settings["words"] = sum(map(len, captions.sentences))
    report: ScoreReport | None = None
    generated: list[list[str]] = []
    if "generation" in tasks:
        generated = generate(captioner, features, options, on_image)
        report, _ = score(generated, references, with_meteor=with_meteor)
    return EvaluationReport(
        perplexity=whole,
        perplexity_without_end=words,
        generation=report.generation if report else None,
        settings=settings | (report.settings if report else {}) | options.model_dump(),
        intervals=report.intervals if report else {},
        notes=report.notes if report else [],
        captions=tuple(map(join_words, generated)),
    )


def without_end(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, with only the words to be predicted; none that is left without any."""
    for batch in batches:
        targets = batch.targets.masked_fill(batch.targets == Vocabulary.END, IGNORED)
        if (targets != IGNORED).any():
            yield replace(batch, targets=targets)


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
