"""A space that sentences and photos share: a pair fits if their vectors point the same way.

It finds candidates for the exact likelihood by one matrix product. A sentence is the sum of its
words' vectors, a photo a projection of its feature's roots; both are scaled to unit length.
Trained so that among many photos and sentences those that belong together are nearest. A space has
parts that are trained apart: the mean of their likenesses errs less than each of them.

Letters: S sentences, N images, F image feature, D the space, all parts of it.
Source: the cost is InfoNCE in both directions, as in Radford et al., "Learning Transferable Visual
Models From Natural Language Supervision", ICML 2021.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model.power_normalization import unit_roots
from mrnn.training.batches import EncodedCaptions

LEAST_TEMPERATURE = 0.02
WARM_UP = 50
"""Steps in which the learning rate rises."""


class JointSpaceOptions(BaseModel):
    """How a joint space is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=128, ge=1)
    """Of a part."""
    parts: int = Field(default=3, ge=1)
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=500, ge=2)
    """Photos that compete with each other, each with one of its captions."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    feature_dropout: float = Field(default=0.6, ge=0, lt=1)
    word_dropout: float = Field(default=0.3, ge=0, lt=1)
    temperature: float = Field(default=0.05, gt=0)
    """At the start; it is learned."""
    seed: int = Field(default=0, ge=0, lt=2**32)


class JointSpace(nn.Module):
    """Vectors of unit length for sentences and photos."""

    def __init__(self, vocabulary_size: int, image_size: int, size: int, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts
        self.words = nn.EmbeddingBag(vocabulary_size, parts * size, mode="sum")
        self.image = nn.Linear(image_size, parts * size)
        nn.init.normal_(self.words.weight, std=0.05)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(image_size))
        self.register_buffer("scale", torch.ones(image_size))

    def read(
        self, sentences: Sequence[Sequence[int]], dropout: float = 0.0
    ) -> Float[Tensor, "S D"]:
        """Of sentences as word ids; zero for a sentence without words."""
        lengths = torch.tensor([0, *map(len, sentences)])
        words = torch.tensor(
            [word for sentence in sentences for word in sentence], dtype=torch.long
        )
        kept = (torch.rand(len(words)) >= dropout).float() if dropout else None
        total: Tensor = self.words(words, lengths.cumsum(0)[:-1], per_sample_weights=kept)
        return self._unit(total)

    def see(self, images: Float[Tensor, "N F"], dropout: float = 0.0) -> Float[Tensor, "N D"]:
        """Of photos, by their features."""
        centred = (unit_roots(images) - self.mean) * self.scale
        total: Tensor = self.image(functional.dropout(centred, dropout))
        return self._unit(total)

    def _unit(self, total: Float[Tensor, "X D"]) -> Float[Tensor, "X D"]:
        """To unit length, each part to an equal share of it."""
        parts = total.view(len(total), self.parts, total.shape[1] // self.parts)
        return functional.normalize(parts, dim=2).flatten(1) / math.sqrt(self.parts)


def train_joint_space(
    features: Float[np.ndarray, "N F"],
    captions: EncodedCaptions,
    vocabulary_size: int,
    options: JointSpaceOptions,
    on_step: Callable[[], None] = lambda: None,
) -> JointSpace:
    """A joint space for photos and their captions. The same seed gives the same, bit for bit.

    `on_step` is called `options.steps` times for each part.
    """
    seeds = range(options.seed * options.parts, (options.seed + 1) * options.parts)
    parts = [
        _train_part(
            features, captions, vocabulary_size, options.model_copy(update={"seed": seed}), on_step
        )
        for seed in seeds
    ]
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and replaced
        space = JointSpace(vocabulary_size, features.shape[1], options.size, options.parts)
    joined = {
        "words.weight": torch.cat([part.words.weight for part in parts], dim=1),
        "image.weight": torch.cat([part.image.weight for part in parts]),
        "image.bias": torch.cat([part.image.bias for part in parts]),
    }
    space.load_state_dict({**parts[0].state_dict(), **joined})
    return space.eval()


def _train_part(
    features: Float[np.ndarray, "N F"],
    captions: EncodedCaptions,
    vocabulary_size: int,
    options: JointSpaceOptions,
    on_step: Callable[[], None],
) -> JointSpace:
    images = torch.from_numpy(np.asarray(features, dtype=np.float32))
    random = torch.Generator().manual_seed(options.seed)
    owners = torch.from_numpy(captions.image_rows)
    order = owners.argsort(stable=True)
    counts = owners.bincount(minlength=len(images))
    firsts = counts.cumsum(0) - counts
    captioned = counts.nonzero()[:, 0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        space = JointSpace(vocabulary_size, images.shape[1], options.size)
        unit = unit_roots(images)
        space.mean.copy_(unit.mean(0))
        space.scale.copy_(1 / (unit.std(0, correction=0) + 0.05 / math.sqrt(unit.shape[1])))
        scale = nn.Parameter(torch.tensor(-math.log(options.temperature)))
        optimizer = torch.optim.AdamW(
            [*space.parameters(), scale],
            options.learning_rate,
            weight_decay=options.weight_decay,
            fused=True,
        )
        left = captioned[:0]
        for step in range(options.steps):
            if len(left) < min(options.batch_size, len(captioned)):
                left = captioned[torch.randperm(len(captioned), generator=random)]
            chosen, left = left[: options.batch_size], left[options.batch_size :]
            draws = torch.rand(len(chosen), generator=random)
            rows = order[firsts[chosen] + (draws * counts[chosen]).long()].tolist()
            sentences = [captions.sentences[row].tolist() for row in rows]
            seen = space.see(images[chosen], options.feature_dropout)
            fit = space.read(sentences, options.word_dropout) @ seen.t()
            logits = fit * scale.exp().clamp(max=1 / LEAST_TEMPERATURE)
            truth = torch.arange(len(chosen))
            cost = functional.cross_entropy(logits, truth) + functional.cross_entropy(
                logits.t(), truth
            )
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(options, step)
            optimizer.zero_grad()
            cost.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            on_step()
    return space


def _learning_rate(options: JointSpaceOptions, step: int) -> float:
    """A short warm-up, and a cosine down to 0."""
    risen = min(1.0, (step + 1) / WARM_UP)
    return options.learning_rate * risen * 0.5 * (1 + math.cos(math.pi * step / options.steps))
