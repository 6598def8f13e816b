"""The paper's measures on a split: perplexity, and the generated sentences against the references.

Captions come from the `Captioner`, as users run it.

Letters: N images, F image feature.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.results import Caption
from mrnn.data.dataset import CaptionedImage
from mrnn.errors import DataError
from mrnn.evaluation.captions import RESAMPLES, GenerationScores, Interval, score
from mrnn.evaluation.confidence import DEPENDS_ON, ConfidenceScores, measure_confidence
from mrnn.evaluation.perplexity import evaluate_perplexity, unknown_words
from mrnn.evaluation.retrieval import RetrievalScores
from mrnn.evaluation.settings import Setting, basis_of
from mrnn.metrics.cider import DocumentFrequencies
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.shapes import Float
from mrnn.tokenizer import EncodedCaptions, Vocabulary, join_words

IMAGES_AT_ONCE = 100


class EvaluationReport(BaseModel):
    """The figures of one model on one split; None where a task was not asked for."""

    model_config = ConfigDict(frozen=True)

    perplexity: float | None = None
    """Of people's captions, `<unk>` and `<eos>` counted."""
    generation: GenerationScores | None = None
    confidence: ConfidenceScores | None = None
    """Measured with generation; None for a model without confidence."""
    retrieval: RetrievalScores | None = None
    perplexity_without_eos: float | None = None
    perplexity_over_vocabulary: float | None = None
    """As `perplexity`, over the words shared with another vocabulary; None without one."""
    settings: dict[str, Setting]
    intervals: dict[str, Interval] = {}
    """The middle 95 % of what most figures are on resampled images; those of retrieval by
    direction and figure, as `image_to_sentence.r@1`."""
    notes: list[str] = []
    """Notes: what is null or odd, and why."""
    captions: tuple[str, ...] = Field(default=(), exclude=True)
    """The first of each image; not in the JSON."""
    ciders: tuple[float, ...] = Field(default=(), exclude=True)
    """CIDEr-D of each; not in the JSON."""

    def with_figures(
        self,
        settings: Mapping[str, Setting],
        intervals: Mapping[str, Interval],
        notes: Sequence[str] = (),
        **figures: Any,  # noqa: ANN401
    ) -> "EvaluationReport":
        """The report with the figures of one more task."""
        changes = {
            "settings": {**self.settings, **settings},
            "intervals": {**self.intervals, **intervals},
            "notes": [*self.notes, *notes],
        }
        return self.model_copy(update=figures | changes)


def evaluate(
    captioner: Captioner,
    images: Sequence[CaptionedImage],
    features: Float[np.ndarray, "N F"],
    *,
    tasks: Sequence[str] = ("perplexity", "generation"),
    decoding: DecodingOptions | None = None,
    reranking: RerankingOptions | None = None,
    training: Sequence[CaptionedImage] = (),
    vocabulary: Vocabulary | None = None,
    frequencies: DocumentFrequencies | None = None,
    with_meteor: bool = True,
    seed: int = 0,
    on_image: Callable[[int], None] = lambda _: None,
) -> EvaluationReport:
    """Figures on `images`, whose `features` come in the same order.

    Captions that `training` lacks are novel, and `frequencies` are those of CIDEr, by
    default of the references. With a `vocabulary`, there is a perplexity over it too. `seed` is for
    the intervals. Options default to the model's own. `on_image` is called with how many images
    have just been captioned.
    """
    references = references_of(images)
    checkpoint = captioner.checkpoint
    decoding = decoding or checkpoint.config.decoding
    reranking = reranking or checkpoint.config.reranking
    settings = {"recipe": checkpoint.config.recipe, "encoder": str(checkpoint.encoder)}
    report = EvaluationReport(settings=settings | basis_of(references, RESAMPLES, seed))
    if "perplexity" in tasks:
        captions = EncodedCaptions.of(references, checkpoint.vocabulary)
        unknown = unknown_words(checkpoint.vocabulary, vocabulary) if vocabulary else None
        found = evaluate_perplexity(
            checkpoint.network, captions, features, unknown=unknown, seed=seed
        )
        report = report.with_figures(
            found.settings, found.intervals,
            perplexity=found.perplexity, perplexity_without_eos=found.perplexity_without_eos,
            perplexity_over_vocabulary=found.perplexity_over_vocabulary,
        )  # fmt: skip
    if "generation" in tasks:
        said = best_captions(captioner, features, decoding, reranking, on_image)
        generated = [words_of(caption) for caption in said]
        known = [words for image in training for words in image.words]
        scored, statistics = score(
            generated, references,
            training=known or None, frequencies=frequencies, with_meteor=with_meteor, seed=seed,
        )  # fmt: skip
        own_settings, notes = _options_told(captioner, decoding, reranking)
        report = report.with_figures(
            scored.settings | own_settings, scored.intervals, notes + scored.notes,
            generation=scored.generation,
            captions=tuple(map(join_words, generated)), ciders=tuple(statistics.cider.tolist()),
        )  # fmt: skip
        if captioner.has_confidence:
            confidence, intervals = measure_confidence(
                captioner, said, features, statistics.cider, resamples=RESAMPLES, seed=seed
            )
            report = report.with_figures(
                {"confidence": DEPENDS_ON}, intervals, confidence=confidence
            )
    return report


def generate(
    captioner: Captioner,
    features: Float[np.ndarray, "N F"],
    decoding: DecodingOptions,
    reranking: RerankingOptions,
    on_image: Callable[[int], None] = lambda _: None,
) -> list[list[str]]:
    """The words of the best caption for each row of `features`."""
    captions = best_captions(captioner, features, decoding, reranking, on_image)
    return [words_of(caption) for caption in captions]


def best_captions(
    captioner: Captioner,
    features: Float[np.ndarray, "N F"],
    decoding: DecodingOptions,
    reranking: RerankingOptions,
    on_image: Callable[[int], None] = lambda _: None,
) -> list[Caption]:
    """The best caption for each row of `features`."""
    best = []
    for start in range(0, len(features), IMAGES_AT_ONCE):
        block = features[start : start + IMAGES_AT_ONCE].astype(np.float32)
        best += [found[0] for found in captioner.describe(block, decoding, reranking)]
        on_image(len(block))
    return best


def words_of(caption: Caption) -> list[str]:
    """The words of a caption."""
    return [word.word for word in caption.words]


def references_of(images: Sequence[CaptionedImage]) -> list[Sequence[Sequence[str]]]:
    """The tokenized captions of each image. Raises DataError for an image without one."""
    if not images:
        raise DataError("There are no images to evaluate on")
    for image in images:
        if not image.captions:
            raise DataError(f"{image.name} has no caption to compare with; run `mrnn check`")
    return [image.words for image in images]


def describe_decoding(settings: Mapping[str, Setting]) -> str:
    """The decoding settings of a report that are not the default."""
    default = DecodingOptions().model_dump() | RerankingOptions().model_dump()
    always = ("beam_size", "length_penalty")
    parts = [
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
            f"{name} {settings[key]}"
            for name in ("model_weight", "bleu_weight")
            if settings.get(key := f"consensus_{name}")
        ]
        by = settings["consensus_by"]
        parts.append(f"reranked by consensus ({source}; by {by}, {', '.join(how)})")
    return ", ".join(parts)


def _options_told(
    captioner: Captioner, decoding: DecodingOptions, reranking: RerankingOptions
) -> tuple[dict[str, Setting], list[str]]:
    """The settings of decoding, and notes on weights that are ignored."""
    applied = captioner.applied(decoding, reranking)
    settings: dict[str, Setting] = {**decoding.model_dump(), **applied.model_dump()}
    notes = []
    if captioner.consensus is not None:
        count = captioner.search_options(decoding, applied).n_best
        settings |= captioner.consensus.settings(count, reranked=bool(applied.weights))
        notes += captioner.consensus.notes
    if captioner.checkpoint.heads is None:  # greedy search needs no note that it has no choice
        notes += [f"{name}: {why}" for name, why in captioner.ignored(decoding, reranking).items()]
    return settings, notes
