"""Training of the joint embedding: among many photos and captions, those that belong together win.

Letters: S sentences, N images, F image feature, D the embedding, a part of it.
Source: the loss is InfoNCE in both directions, as in Radford et al., "Learning Transferable Visual
Models From Natural Language Supervision", ICML 2021.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model.joint_embedding import JointEmbedding
from mrnn.shapes import Float
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.devices import has_fused_optimizer
from mrnn.training.power_normalization import Standardized
from mrnn.training.recipe import JointEmbeddingOptions

LEAST_TEMPERATURE = 0.02
WARM_UP = 50
"""Steps in which the learning rate rises."""


class JointEmbeddingPart(nn.Module):
    """One part of an embedding, trained by itself."""

    def __init__(self, vocabulary_size: int, image_size: int, size: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary_size, size, mode="sum")
        self.image = nn.Linear(image_size, size)
        nn.init.normal_(self.words.weight, std=0.05)

    def embed_text(
        self, sentences: Sequence[Sequence[int]], dropout: float
    ) -> Float[Tensor, "S D"]:
        """Each sentence as the sum of its words, of unit length."""
        device = self.words.weight.device
        starts = torch.tensor([0, *map(len, sentences)]).cumsum(0)[:-1].to(device)
        words = torch.tensor([word for words in sentences for word in words], dtype=torch.long)
        kept = (torch.rand(len(words), device=device) >= dropout).float() if dropout else None
        total: Tensor = self.words(words.to(device), starts, per_sample_weights=kept)
        return functional.normalize(total)

    def embed_image(self, scaled: Float[Tensor, "N F"], dropout: float) -> Float[Tensor, "N D"]:
        """Each photo by its power-normalized and standardized feature, of unit length."""
        return functional.normalize(self.image(functional.dropout(scaled, dropout)))


def train_joint_embedding(
    features: Standardized,
    captions: EncodedCaptions,
    vocabulary_size: int,
    options: JointEmbeddingOptions,
    on_step: Callable[[], None] = lambda: None,
) -> JointEmbedding:
    """For photos and their captions, on the device of their features.

    On the CPU the same seed gives the same, bit for bit. `on_step` is called `options.steps` times
    for each part.
    """
    seeds = range(options.seed * options.parts, (options.seed + 1) * options.parts)
    parts = [
        _train(features.values, captions, vocabulary_size, options, seed, on_step) for seed in seeds
    ]
    return JointEmbedding(
        words=torch.cat([part.words.weight.detach() for part in parts], dim=1).cpu().numpy(),
        image_weight=torch.cat([part.image.weight.detach() for part in parts]).cpu().numpy(),
        image_bias=torch.cat([part.image.bias.detach() for part in parts]).cpu().numpy(),
        feature_mean=features.mean.cpu().numpy(), feature_scale=features.scale.cpu().numpy(),
        parts=options.parts,
    )  # fmt: skip


class _Sampler:
    """Batches of photos in random order, with one caption each."""

    def __init__(self, captions: EncodedCaptions, photos: int, size: int, seed: int) -> None:
        self._sentences, self._size = captions.sentences, size
        self._random = torch.Generator().manual_seed(seed)
        owners = torch.from_numpy(captions.image_rows)
        self._order = owners.argsort(stable=True)
        self._counts = owners.bincount(minlength=photos)
        self._firsts = self._counts.cumsum(0) - self._counts
        self._captioned = self._counts.nonzero()[:, 0]
        self._left = self._captioned[:0]

    def draw(self) -> tuple[Tensor, list[list[int]]]:
        """Some photos, and their sentences."""
        if len(self._left) < min(self._size, len(self._captioned)):
            order = torch.randperm(len(self._captioned), generator=self._random)
            self._left = self._captioned[order]
        chosen, self._left = self._left[: self._size], self._left[self._size :]
        draws = torch.rand(len(chosen), generator=self._random)
        rows = self._order[self._firsts[chosen] + (draws * self._counts[chosen]).long()]
        return chosen, [self._sentences[row].tolist() for row in rows.tolist()]


def _train(
    scaled: Float[Tensor, "N F"],
    captions: EncodedCaptions,
    vocabulary_size: int,
    options: JointEmbeddingOptions,
    seed: int,
    on_step: Callable[[], None],
) -> JointEmbeddingPart:
    sampler, device = _Sampler(captions, len(scaled), options.batch_size, seed), scaled.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        part = JointEmbeddingPart(vocabulary_size, scaled.shape[1], options.size).to(device)
        sharpness = nn.Parameter(torch.tensor(-math.log(options.temperature), device=device))
        optimizer = torch.optim.AdamW(
            [*part.parameters(), sharpness],
            options.learning_rate,
            weight_decay=options.weight_decay,
            fused=has_fused_optimizer(device),
        )
        for step in range(options.steps):
            chosen, sentences = sampler.draw()
            images = part.embed_image(scaled[chosen.to(device)], options.feature_dropout)
            similarity = part.embed_text(sentences, options.word_dropout) @ images.t()
            loss = contrastive_loss(similarity * sharpness.exp().clamp(max=1 / LEAST_TEMPERATURE))
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(options, step)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            on_step()
    return part


def contrastive_loss(logits: Float[Tensor, "B B"]) -> Tensor:
    """Of naming each sentence's photo and each photo's sentence, which are on the diagonal."""
    truth = torch.arange(len(logits), device=logits.device)
    return functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.t(), truth)


def _learning_rate(options: JointEmbeddingOptions, step: int) -> float:
    """A short warm-up, and a cosine down to 0."""
    risen = min(1.0, (step + 1) / WARM_UP)
    return options.learning_rate * risen * 0.5 * (1 + math.cos(math.pi * step / options.steps))
