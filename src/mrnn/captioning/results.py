"""Captions of a photo, in Python and in JSON."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer

from mrnn.model.tags import Tag


class RerankResult(BaseModel):
    """The place of a hypothesis among those of its photo."""

    model_config = ConfigDict(frozen=True)

    score: float
    """Its consensus score: the mean similarity, 0 to 10 by CIDEr-D, 0 to 1 by BLEU; a captioner
    adds the reranking scores of a model with heads."""
    rank: int
    """From 1."""
    rank_before: int


class Word(BaseModel):
    """A word of a caption."""

    model_config = ConfigDict(frozen=True)

    word: str
    log_probability: float
    """Nats, given the photo and the words before it."""


class Caption(BaseModel):
    """One caption of a photo."""

    model_config = ConfigDict(frozen=True)

    text: str
    log_probability: float
    """Nats: the sum over its words and `<eos>`."""
    words: tuple[Word, ...]
    consensus: RerankResult | None = None
    """Its rank before and after consensus reranking, among all hypotheses; None without."""

    @model_serializer(mode="wrap")
    def _serialize(self, serialize: Callable[["Caption"], dict[str, Any]]) -> dict[str, Any]:
        """JSON has no key for a consensus that was not asked for."""
        content: dict[str, Any] = serialize(self)
        if self.consensus is None:
            content.pop("consensus", None)
        return content


class ImageCaptions(BaseModel):
    """The captions of one photo; `error` says why if there are none."""

    model_config = ConfigDict(frozen=True)

    image: str
    captions: tuple[Caption, ...] = ()
    """Best first."""
    tags: tuple[Tag, ...] = ()
    """What the image encoder's own classes see; none where it has no classes."""
    familiarity: float | None = None
    """0..1: how like the training photos; see `mrnn.model.familiarity`."""
    confidence: float | None = None
    """0..1: how likely people would call the first caption right; see `mrnn.model.confidence`.
    None for a model without it."""
    error: str | None = None

    def __str__(self) -> str:
        return self.captions[0].text if self.captions else f"({self.error})"
