"""The options of decoding: the only home of their defaults and checks."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
