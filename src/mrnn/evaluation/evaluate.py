"""The paper's measures on a split: perplexity, and the generated sentences against the references.

What is measured is what people run: captions come from the `Captioner`.

Letters: N images, R sets of images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import CaptionedImage
from mrnn.errors import DataError
from mrnn.evaluation.captions import (
    RESAMPLES,
    GenerationScores,
    Interval,
    ScoreReport,
    Setting,
    basis_of,
    intervals_of,
    score,
)
from mrnn.evaluation.retrieval import RetrievalScores
from mrnn.metrics.bootstrap import bootstrap
from mrnn.metrics.cider import DocumentFrequencies
from mrnn.model.config import DecodingOptions
from mrnn.retrieval.likelihood import caption_nats, perplexity_of
from mrnn.shapes import Float
from mrnn.tokenizer import EncodedCaptions, Vocabulary, join_words
from mrnn.training.batches import batches
from mrnn.training.network import Network

IMAGES_AT_ONCE = 100
CAPTIONS_AT_ONCE = 128
PERPLEXITIES: dict[str, Setting] = {
    "perplexity": "words, unknown ones as one sign, and end signs",
    "perplexity_without_end": "the same, without end signs",
}
"""What each counts."""


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
    """The middle 95 % of what most figures are on resampled images; those of retrieval by
    direction and figure, as `image_to_sentence.r@1`."""
    notes: list[str] = []
    """What is null, and why; what is odd."""
    captions: tuple[str, ...] = Field((), exclude=True)
    """What was said of each image; not in the JSON."""
    ciders: tuple[float, ...] = Field((), exclude=True)
    """CIDEr-D of each; not in the JSON."""


def evaluate(
    captioner: Captioner,
    images: Sequence[CaptionedImage],
    features: np.ndarray,
    *,
    tasks: Sequence[str] = ("perplexity", "generation"),
    options: DecodingOptions | None = None,
    training: Sequence[CaptionedImage] = (),
    frequencies: DocumentFrequencies | None = None,
    with_meteor: bool = True,
    seed: int = 0,
    on_image: Callable[[int], None] = lambda _: None,
) -> EvaluationReport:
    """Figures on `images`, whose `features` (N x F) come in the same order.

    The images of `training` say which captions are new, `frequencies` what CIDEr counts as rare
    (by default the references do), and `seed` what the intervals draw.
    """
    references = references_of(images)
    checkpoint = captioner.checkpoint
    options = options or checkpoint.decoding
    settings: dict[str, Setting] = {
        "recipe": checkpoint.recipe,
        "encoder": str(checkpoint.encoder),
        **basis_of(references, RESAMPLES, seed),
    }
    whole, words = None, None
    intervals: dict[str, Interval] = {}
    if "perplexity" in tasks:
        captions = EncodedCaptions.of(references, checkpoint.vocabulary)
        whole, words, intervals = _perplexities(checkpoint.model, captions, features, seed)
        settings |= _words_of(captions, checkpoint.vocabulary) | PERPLEXITIES
    report: ScoreReport | None = None
    notes: list[str] = []
    generated: list[list[str]] = []
    ciders: list[float] = []
    if "generation" in tasks:
        generated = generate(captioner, features, options, on_image)
        known = [words for image in training for words in image.words]
        report, statistics = score(
            generated, references,
            training=known or None, frequencies=frequencies, with_meteor=with_meteor, seed=seed,
        )  # fmt: skip
        ciders = statistics.cider.tolist()
        applied = captioner.applied(options)
        settings |= report.settings | applied.model_dump()
        if captioner.consensus is not None:
            settings |= captioner.consensus.settings(
                captioner.search_of(applied).n_best, judged=bool(applied.fit_weights)
            )
            notes += captioner.consensus.notes
        if captioner.ranker is None:  # greedy search needs no note that it has no choice
            notes += [f"{name}: {why}" for name, why in captioner.left_out(options).items()]
    return EvaluationReport(
        perplexity=whole,
        perplexity_without_end=words,
        generation=report.generation if report else None,
        settings=settings,
        intervals=intervals | (report.intervals if report else {}),
        notes=notes + (report.notes if report else []),
        captions=tuple(map(join_words, generated)),
        ciders=tuple(ciders),
    )


def _words_of(captions: EncodedCaptions, vocabulary: Vocabulary) -> dict[str, Setting]:
    """What perplexity is of."""
    words = np.concatenate(captions.sentences)
    return {
        "words": len(words),
        "unknown_words": int((words == Vocabulary.UNK).sum()),
        "vocabulary_words": len(vocabulary),
    }


def decoding_told(settings: dict[str, Setting]) -> str:
    """Of a report's settings, what decided the captions and is not as always."""
    default = DecodingOptions().model_dump()
    always = ("beam_size", "length_exponent")
    said = [
        f"{name} {settings[name]}"
        for name in default
        if name in always or (name != "n_best" and settings[name] != default[name])
    ]
    if source := settings.get("consensus"):
        how = [
            f"{settings[key]} {name}"
            for name in ("hypotheses", "neighbours", "references")
            if (key := f"consensus_{name}") in settings
        ]
        how += [
            f"{what} {times} times"
            for name, what in (("share", "likelihood and expected CIDEr"), ("bleu", "BLEU"))
            if (times := settings.get(f"consensus_{name}"))
        ]
        by = settings["consensus_by"]
        said.append(f"re-ranked by consensus ({source}; by {by}, {', '.join(how)})")
    return ", ".join(said)


def _perplexities(
    model: Network, captions: EncodedCaptions, features: np.ndarray, seed: int
) -> tuple[float, float, dict[str, Interval]]:
    """With end signs and without, and the intervals of both, over images."""
    nats = caption_nats(model, batches(captions, features, CAPTIONS_AT_ONCE), len(captions))
    lengths = np.array([len(sentence) for sentence in captions.sentences])
    costs = np.stack([nats.sum(axis=1), nats[:, 0], lengths + 1, lengths], axis=1)
    of_images = np.zeros((len(features), 4))
    np.add.at(of_images, captions.image_rows, costs)

    def nats_a_word(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R 2"]:
        sums = weights @ of_images
        return np.asarray(sums[:, :2] / np.maximum(sums[:, 2:], 1))

    whole, words = (perplexity_of(x, 1) for x in nats_a_word(np.ones((1, len(features))))[0])
    drawn = bootstrap(nats_a_word, len(features), resamples=RESAMPLES, seed=seed)
    found = intervals_of(["perplexity", "perplexity_without_end"], drawn)
    intervals = {
        key: (perplexity_of(low, 1), perplexity_of(high, 1)) for key, (low, high) in found.items()
    }
    return whole, words, intervals


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
    return [image.words for image in images]
