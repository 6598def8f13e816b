"""What RUN/config.json says: sizes of the network, its image encoder, options of decoding."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Activation = Literal["relu", "sigmoid", "tanh"]
Kind = Activation | Literal["gru", "lstm"]

Fit = Literal["crop", "squash", "pad", "crop-flip", "squash-flip", "pad-flip", "ten-crop"]
"""How a photo becomes a square: its centre cut out, its sides squashed, or bars added. The others
average several squares: that and its mirror image; corners, centre, and their mirror images."""

MARGIN = 32
"""Pixels by which the side of a photo is longer than that of the square cut out of it."""


class EncoderIdentity(BaseModel):
    """What makes two features comparable: they are if, and only if, their identities are equal.

    Of features made elsewhere only name and feature_size are known: their layer is "imported",
    their fit None, their size 0, and their weights "".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layer: str
    fit: Fit | None
    size: int
    """Side, in pixels, of the square that the network sees."""
    feature_size: int
    weights: str
    """16 hexadecimal digits of a SHA-256: of the weights file that installs with the package, or
    of the weights themselves."""

    def __str__(self) -> str:
        if self.imported:
            return f"{self.name} (imported, {self.feature_size:,} values)"
        return f"{self.name} ({self.layer}, {self.fit}, {self.size} px, weights {self.weights})"

    @property
    def imported(self) -> bool:
        """Whether they were made elsewhere, so that no encoder here makes more of them."""
        return self.fit is None

    @property
    def least_side(self) -> int:
        """What a photo's shorter side should at least have, in pixels."""
        return self.size + (MARGIN if self.fit == "ten-crop" else 0)


class ModelOptions(BaseModel):
    """What a recipe says of a network; the paper's m-RNN unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["m-rnn", "simple-rnn"] = "m-rnn"
    """simple-rnn: no image and no multimodal layer, the paper's section 3."""
    embedding_size: int = Field(default=128, ge=1)
    """Of the first embedding layer; the second has the recurrent size."""
    embedding_layers: int = Field(default=2, ge=1, le=2)
    recurrence: Kind = "relu"
    recurrent_size: int = Field(default=256, ge=1)
    recurrent_layers: int = Field(default=1, ge=1)
    multimodal_size: int = Field(default=512, ge=1)
    multimodal_activation: Literal["scaled-tanh", "tanh"] = "scaled-tanh"
    shares_embedding: bool = False
    """Transposed weight sharing: m(t) is mapped into the space of the first embedding layer, whose
    weights, transposed, then predict the next word."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of w(t), r(t), I and m(t) set to zero in training."""
    sees_image: bool = True
    """False for the baseline RNN-Base: the same network without V_I I."""
    image_length: float = Field(default=0.0, ge=0)
    """The Euclidean length to which every I is scaled; 0 leaves it as its encoder gives it."""

    @property
    def word_size(self) -> int:
        """Of w(t), what the last embedding layer gives."""
        return self.embedding_size if self.embedding_layers == 1 else self.recurrent_size

    @model_validator(mode="after")
    def _fit_together(self) -> "ModelOptions":
        if self.network == "simple-rnn":
            if self.embedding_layers != 1 or self.sees_image:
                raise ValueError("simple-rnn goes with embedding_layers = 1 and sees_image = false")
            for name in ("multimodal_size", "multimodal_activation", "shares_embedding"):
                if getattr(self, name) != ModelOptions.model_fields[name].default:
                    raise ValueError(f"simple-rnn has no {name}: leave it out")
        if self.recurrence not in ("gru", "lstm") and self.word_size != self.recurrent_size:
            raise ValueError(
                f"a {self.recurrence} recurrence adds the word to the state: with one embedding "
                f"layer embedding_size must be recurrent_size, {self.recurrent_size}, "
                f"not {self.embedding_size}"
            )
        return self


class ModelConfig(ModelOptions):
    """A network for one vocabulary and one image feature."""

    vocabulary_size: int = Field(ge=4)
    image_size: int = Field(ge=1)
    """Length of the image feature."""


class DecodingOptions(BaseModel):
    """How sentences are found. Searched for, unless `temperature` is above 0: then drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beam_size: int = Field(default=3, ge=1, le=1000)
    """Hypotheses kept at each step of a search; 1 is greedy search."""
    n_best: int = Field(default=1, ge=1, le=1000)
    """Hypotheses returned; the beam is widened to as many."""
    maximum_words: int = Field(default=30, ge=1, le=1000)
    length_exponent: float = Field(default=0.7, ge=0, le=2)
    """A finished hypothesis scores log P / length^this, its end sign counted; 0 is plain log P."""

    likeness: float = Field(default=0.0, ge=0, le=1000)
    """What a unit of likeness between photo and sentence, in the joint space of a model that has
    learned to rank, adds to the score of a search's hypotheses; 0, or no such space, nothing."""
    expected_cider: float = Field(default=0.0, ge=0, le=1000)
    """What a unit of the CIDEr that a hypothesis can expect, 0 to 10, adds likewise."""

    minimum_words: int = Field(default=1, ge=1, le=1000)
    no_repeat_ngram: int = Field(default=0, ge=0, le=1000)
    """No run of this many words comes twice in a sentence; 0 allows all."""
    must: tuple[str, ...] = ()
    """Words that every sentence has, in any order."""
    must_not: tuple[str, ...] = ()
    """Words that no sentence has."""
    prefix: str = ""
    """What every sentence begins with; its words count as any others."""

    diverse_groups: int = Field(default=1, ge=1, le=1000)
    """Parts of the beam that differ from each other; the beam is widened to a multiple."""
    diversity_penalty: float = Field(default=0.5, ge=0, le=1000)
    """Nats that a word costs for each hypothesis of an earlier group that has just taken it."""

    temperature: float = Field(default=0.0, ge=0, le=1000)
    """Words are drawn in proportion to P^(1 / this); 0 searches instead."""
    top_k: int = Field(default=0, ge=0)
    """Only this many of the likeliest words are drawn from; 0 for all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest words that together have this share are drawn from, after `top_k`."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    @property
    def fit_weights(self) -> dict[str, float]:
        """Of what judges how well a caption fits its photo, by name, where it counts."""
        weights = {"likeness": self.likeness, "expected_cider": self.expected_cider}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def by_likelihood(self) -> "DecodingOptions":
        """The same, where how well captions fit does not count."""
        return self.model_copy(update=dict.fromkeys(self.fit_weights, 0.0))

    @property
    def searches(self) -> bool:
        """Whether hypotheses come from one search whose best are wanted, not for being diverse."""
        return not self.temperature and self.diverse_groups == 1

    @model_validator(mode="after")
    def _fit_together(self) -> "DecodingOptions":
        if self.minimum_words > self.maximum_words:
            raise ValueError(
                f"minimum_words, {self.minimum_words}, is more than maximum_words, "
                f"{self.maximum_words}"
            )
        if not self.temperature:
            idle = [name for name in ("top_k", "top_p", "seed") if self._is_set(name)]
            if idle:
                raise ValueError(f"{idle[0]} is for sampling: set temperature too, such as 1")
            return self
        if self.must:
            raise ValueError("must needs a search: leave temperature at 0")
        if self.diverse_groups > 1:
            raise ValueError("diverse_groups is for a search: leave temperature at 0")
        return self

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @property
    def group_width(self) -> int:
        """Hypotheses that each group really keeps; one group is the whole beam."""
        return -(-max(self.beam_size, self.n_best) // self.diverse_groups)
