"""RUN/config.json: the network, its image encoder, options of decoding and reranking."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Activation = Literal["relu", "sigmoid", "tanh"]
Kind = Literal[Activation, "gru", "lstm"]

ResizeMode = Literal["crop", "squash", "pad", "crop-flip", "squash-flip", "pad-flip", "ten-crop"]
"""How a photo becomes a square: cropped at its centre, squashed, or padded with bars.

The others average the features of several crops: the square and its mirror image (-flip); corners,
centre and their mirror images (ten-crop)."""

MARGIN = 32
"""Pixels by which the shorter side of a photo exceeds the square that is cropped from it."""


class EncoderIdentity(BaseModel):
    """Two features can be compared if, and only if, the identities of their encoders are equal.

    Of imported features only name and feature_size are known: their layer is "imported", their
    resize_mode None, their size 0, and their weights "".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=1000)
    layer: str = Field(max_length=1000)
    resize_mode: ResizeMode | None
    size: int = Field(ge=0)
    """Side of the network's input, in pixels."""
    feature_size: int = Field(ge=1)
    weights: str
    """The first 16 hexadecimal digits of the SHA-256 of the encoder's file."""

    def __str__(self) -> str:
        """For people: shortened to at most 200 characters."""
        if self.imported:
            return f"{self.name:.80} (imported, {self.feature_size:,} values)"
        layers = "+".join(dict.fromkeys(self.layer.split("+")))
        weights = "+".join(part[:8] for part in self.weights.split("+"))
        return (
            f"{self.name:.80} ({layers:.40}, {self.resize_mode}, {self.size} px, "
            f"weights {weights:.40})"
        )

    def difference(self, other: "EncoderIdentity") -> str:
        """The first difference of another identity, as "size 320, not 224"; "" if nothing does."""
        for field in EncoderIdentity.model_fields:
            own, found = getattr(self, field), getattr(other, field)
            if own != found:
                return f"{field.replace('_', ' ')} {found!s:.80}, not {own!s:.80}"
        return ""

    @property
    def imported(self) -> bool:
        """Whether the features were imported, so that there is no encoder for new photos."""
        return self.resize_mode is None

    @property
    def least_side(self) -> int:
        """The least length of a photo's shorter side, in pixels."""
        return self.size + (MARGIN if self.resize_mode == "ten-crop" else 0)


class ModelOptions(BaseModel):
    """The table [model] of a recipe; its defaults are the paper's m-RNN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["m-rnn", "simple-rnn"] = "m-rnn"
    """simple-rnn: no image and no multimodal layer, the paper's section 3."""
    embedding_size: int = Field(default=128, ge=1)
    """Of the first embedding layer; the second has the recurrent size."""
    embedding_layers: int = Field(default=2, ge=1, le=2)
    recurrence: Kind = "relu"
    recurrent_size: int = Field(default=256, ge=1)
    recurrent_layers: int = Field(default=1, ge=1, le=100)
    multimodal_size: int = Field(default=512, ge=1)
    multimodal_activation: Literal["scaled-tanh", "tanh"] = "scaled-tanh"
    shares_embedding: bool = False
    """Transposed weight sharing: m(t) is mapped into the space of the first embedding layer, whose
    weights, transposed, then predict the next word."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of w(t), r(t), I and m(t) set to zero in training."""
    sees_image: bool = True
    """False for the baseline RNN-Base: the same network without V_I I."""
    image_length: FiniteFloat = Field(default=0.0, ge=0)
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
    """How sentences are generated: by beam search at temperature 0, by sampling above it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beam_size: int = Field(default=3, ge=1, le=1000)
    """Hypotheses kept at each step of a search; 1 is greedy search."""
    n_best: int = Field(default=1, ge=1, le=1000)
    """Hypotheses returned; the beam is widened to as many."""
    max_length: int = Field(default=30, ge=1, le=1000)
    """Words, without `<eos>`."""
    min_length: int = Field(default=1, ge=1, le=1000)
    length_penalty: float = Field(default=0.7, ge=0, le=2)
    """A finished hypothesis scores log P / length^this, `<eos>` counted; 0 is plain log P."""

    no_repeat_ngram: int = Field(default=0, ge=0, le=1000)
    """No n-gram of this many words occurs twice in a sentence; 0 allows all."""
    force_words: tuple[str, ...] = ()
    """Words that every sentence contains, in any order."""
    bad_words: tuple[str, ...] = ()
    """Words that no sentence contains."""
    prefix: str = ""
    """The beginning of every sentence; its words count towards the length."""

    beam_groups: int = Field(default=1, ge=1, le=1000)
    """Parts of the beam that differ from each other; the beam is widened to a multiple."""
    diversity_penalty: float = Field(default=0.5, ge=0, le=1000)
    """Nats that a word costs for each hypothesis of an earlier group that has just taken it."""

    temperature: float = Field(default=0.0, ge=0, le=1000)
    """Words are sampled in proportion to P^(1 / this); 0 searches instead."""
    top_k: int = Field(default=0, ge=0)
    """Sampled from this many of the likeliest words; 0 for all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sampled from the likeliest words that together have this probability, after `top_k`."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    @property
    def is_beam_search(self) -> bool:
        """Whether this is plain beam search: no groups, no sampling."""
        return not self.temperature and self.beam_groups == 1

    @model_validator(mode="after")
    def _fit_together(self) -> "DecodingOptions":
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length, {self.min_length}, is more than max_length, {self.max_length}"
            )
        if not self.temperature:
            idle = [name for name in ("top_k", "top_p", "seed") if self._is_set(name)]
            if idle:
                raise ValueError(f"{idle[0]} is for sampling: set temperature too, such as 1")
            return self
        if self.force_words:
            raise ValueError("force_words needs a search: leave temperature at 0")
        if self.beam_groups > 1:
            raise ValueError("beam_groups is for a search: leave temperature at 0")
        return self

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @property
    def group_size(self) -> int:
        """Hypotheses that each group keeps; a single group is the whole beam."""
        return -(-max(self.beam_size, self.n_best) // self.beam_groups)


class RerankingOptions(BaseModel):
    """Weights of the terms that rerank the hypotheses of a beam search.

    All terms need a model with heads (`mrnn train-heads`). A weight of 0 ignores its term.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    similarity_weight: float = Field(default=0.0, ge=0, le=1000)
    """Weight of the cosine, -1 to 1, of photo and sentence in the joint embedding."""
    predicted_cider_weight: float = Field(default=0.0, ge=0, le=1000)
    """Weight of the predicted CIDEr-D, about 0 to 10."""
    thing_weight: float = Field(default=0.0, ge=0, le=1000)
    """Weight of the things that a sentence names: P(people name it) - 3/4, summed."""

    @property
    def weights(self) -> dict[str, float]:
        """The weights above 0, by name."""
        return {name: weight for name, weight in self.model_dump().items() if weight}


class CheckpointConfig(BaseModel):
    """The content of RUN/config.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    recipe: str
    """The name of the recipe that trained the model."""
    model: ModelConfig
    encoder: EncoderIdentity
    decoding: DecodingOptions
    reranking: RerankingOptions
    familiarity_median: FiniteFloat = Field(ge=0)
    familiarity_edge: FiniteFloat
    graphs: dict[str, str]
    """The first 16 hexadecimal digits of the SHA-256 of each graph."""
    held_out: int = Field(default=0, ge=0)
    """Photos of the train split that the model was not trained on, evenly spaced in its order."""

    @model_validator(mode="after")
    def _fit_together(self) -> "CheckpointConfig":
        if self.familiarity_edge <= self.familiarity_median:
            raise ValueError("familiarity_edge must be above familiarity_median")
        return self
