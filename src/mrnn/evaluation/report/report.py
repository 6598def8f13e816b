"""The content of a report on one model or two: figures of a split, and its photos.

Letters: N images, F image feature.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.results import Caption
from mrnn.data.dataset import CaptionedImage
from mrnn.data.images import load_image
from mrnn.errors import ImageError
from mrnn.evaluation.captions import CaptionStatistics
from mrnn.evaluation.comparison import ComparisonReport, compare
from mrnn.evaluation.evaluate import IMAGES_AT_ONCE, EvaluationReport, evaluate, references_of
from mrnn.evaluation.report.ranks import PhotoRanks, photo_ranks
from mrnn.evaluation.retrieval import RetrievalReport
from mrnn.metrics.cider import DocumentFrequencies
from mrnn.metrics.inventions import invented_things
from mrnn.metrics.ngrams import Words
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.epochs import EpochDone
from mrnn.shapes import Float

SHOWN = 200
"""Photos that a report shows, unless asked for more or fewer."""
CAPTIONS_SHOWN = 20
"""Of a photo, at most."""
SIDE = 240
"""Longest side of a thumbnail, in pixels."""


class ScoredCaption(BaseModel):
    """A caption with the scores of this photo alone."""

    model_config = ConfigDict(frozen=True)

    caption: Caption
    cider: float
    """CIDEr-D; document frequencies of the whole split."""
    bleu_4: float
    invented: tuple[str, ...]
    """Things that it names and no reference does."""


class Thumbnail(BaseModel):
    """A small copy of a photo."""

    model_config = ConfigDict(frozen=True)

    jpeg: bytes
    width: int
    height: int


class ShownImage(BaseModel):
    """A photo with its references and the captions of each run."""

    model_config = ConfigDict(frozen=True)

    name: str
    thumbnail: Thumbnail | None
    problem: str
    """Why there is no thumbnail; empty where there is one."""
    references: tuple[str, ...]
    captions: tuple[tuple[ScoredCaption, ...], ...]
    """Of each run, best first."""
    ranks: tuple[PhotoRanks | None, ...]
    """Of each run; None for a model without heads."""


class RunReport(BaseModel):
    """One model on the whole split."""

    model_config = ConfigDict(frozen=True)

    name: str
    figures: EvaluationReport
    epochs: tuple[EpochDone, ...]
    """Of its training; empty where the run does not hold them."""


class Report(BaseModel):
    """All that the page shows."""

    model_config = ConfigDict(frozen=True)

    data: str
    split: str
    runs: tuple[RunReport, ...]
    comparison: ComparisonReport | None
    """Of two runs, on the whole split."""
    images: tuple[ShownImage, ...]
    """In the order of the dataset."""


@dataclass(frozen=True)
class Run:
    """A model to report on."""

    name: str
    captioner: Captioner
    features: Float[np.ndarray, "N F"]
    """Of the split's images, in their order."""
    decoding: DecodingOptions
    reranking: RerankingOptions
    epochs: tuple[EpochDone, ...] = ()
    retrieval: RetrievalReport | None = None
    """Of the split's images, in one fold; None for a model without heads."""


def make_report(
    runs: Sequence[Run],
    images: Sequence[CaptionedImage],
    *,
    data: str,
    split: str,
    limit: int = SHOWN,
    training: Sequence[CaptionedImage] = (),
    with_meteor: bool = True,
    on_image: Callable[[int], None] = lambda _: None,
) -> Report:
    """Figures are of all `images`; `limit` of them, evenly spaced, are shown.

    `on_image` is called with how many images a run has just been measured on. Raises DataError
    where an image has no caption.
    """
    references = references_of(images)
    figures = [
        evaluate(
            run.captioner, images, run.features,
            decoding=run.decoding.model_copy(update={"n_best": 1}), reranking=run.reranking,
            training=training, with_meteor=with_meteor, on_image=on_image,
        )
        for run in runs
    ]  # fmt: skip
    comparison = None
    if len(runs) == 2:
        comparison = compare(
            [image.name for image in images],
            figures[0].captions,
            figures[1].captions,
            [image.captions for image in images],
            with_meteor=with_meteor,
        )
    return Report(
        data=data,
        split=split,
        runs=tuple(_run_report(run, found) for run, found in zip(runs, figures, strict=True)),
        comparison=comparison,
        images=_shown_images(runs, images, references, evenly_spaced(len(images), limit)),
    )


def n_best(decoding: DecodingOptions) -> DecodingOptions:
    """What the beam holds at the end: the first of them stays what it is without the others."""
    wide = 1 if decoding.temperature else min(decoding.beam_size, CAPTIONS_SHOWN)
    return decoding.model_copy(update={"n_best": wide})


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Which `limit` of `count` things to take; all of them, if there are no more."""
    taken = min(count, limit)
    return [place * count // taken for place in range(taken)]


def _shown_images(
    runs: Sequence[Run],
    images: Sequence[CaptionedImage],
    references: Sequence[Sequence[Words]],
    rows: Sequence[int],
) -> tuple[ShownImage, ...]:
    """The images in these rows."""
    frequencies = DocumentFrequencies.of(references)
    shown = [references[row] for row in rows]
    captions = [_captions(run, rows, shown, frequencies) for run in runs]
    image_rows = np.repeat(np.arange(len(images)), list(map(len, references)))
    ranks = [run.retrieval and photo_ranks(run.retrieval, image_rows) for run in runs]
    return tuple(
        ShownImage(
            **_picture(images[row]),
            references=images[row].captions,
            captions=tuple(of_run[place] for of_run in captions),
            ranks=tuple(of_run[row] if of_run else None for of_run in ranks),
        )
        for place, row in enumerate(rows)
    )


def _picture(image: CaptionedImage) -> dict[str, Any]:
    """The name of a photo, and its thumbnail or why there is none."""
    try:
        photo = load_image(image.path, least_side=SIDE)
    except ImageError as error:
        return {"name": image.name, "thumbnail": None, "problem": str(error)}
    photo.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=75)
    thumbnail = Thumbnail(jpeg=stream.getvalue(), width=photo.width, height=photo.height)
    return {"name": image.name, "thumbnail": thumbnail, "problem": ""}


def _run_report(run: Run, figures: EvaluationReport) -> RunReport:
    if found := run.retrieval:
        figures = figures.with_figures(
            found.settings, found.intervals, found.notes, retrieval=found.scores
        )
    return RunReport(name=run.name, figures=figures, epochs=run.epochs)


def _captions(
    run: Run,
    rows: Sequence[int],
    references: Sequence[Sequence[Words]],
    frequencies: DocumentFrequencies,
) -> list[tuple[ScoredCaption, ...]]:
    """The n-best captions of the images in these rows."""
    captions = []
    for start in range(0, len(rows), IMAGES_AT_ONCE):
        block = run.features[rows[start : start + IMAGES_AT_ONCE]].astype(np.float32)
        captions += run.captioner.describe(block, n_best(run.decoding), run.reranking)
    pairs = [
        ([word.word for word in caption.words], sentences)
        for found, sentences in zip(captions, references, strict=True)
        for caption in found
    ]
    scores = CaptionStatistics.of(*zip(*pairs, strict=True), frequencies=frequencies).of_images()
    invented = [tuple(invented_things(words, sentences)) for words, sentences in pairs]
    each = zip(scores["cider"].tolist(), scores["bleu_4"].tolist(), invented, strict=True)
    return [
        tuple(
            ScoredCaption(caption=caption, cider=cider, bleu_4=bleu, invented=things)
            for caption, (cider, bleu, things) in zip(found, each, strict=False)
        )
        for found in captions
    ]
