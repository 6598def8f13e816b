"""Two linear heads above an image feature, by which an encoder learns what captions tell.

One predicts the mean CIDEr vector of the photo's captions along its leading directions, the other
places photo and captions near each other. So a feature learns what the CIDEr predictor and the
joint embedding of a model will ask of it.

Letters: N images, F image feature, D directions, B batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mrnn.shapes import Float, Int64
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.cider_vectors import CiderVectors
from mrnn.training.joint_embedding import JointEmbeddingPart, contrastive_loss

NGRAMS, DIRECTIONS = 10_000, 400
EMBEDDING_SIZE = 256
DROPOUT = 0.2
"""Of the feature."""
LEAST_ROOT = 0.01
"""Added before the square root, whose slope at 0 has no bound."""
PENALTY = 0.3
"""Of the regression that the first head begins with; a fraction of the mean square."""
SHARPNESS = 3.0
"""The logarithm of the inverse temperature, to begin with; it is learned."""


class CaptionHeads(nn.Module):
    """Fitted to the features of all train photos as they are before, none of them negative."""

    mean: Tensor
    scale: Tensor
    targets: Tensor

    def __init__(
        self, features: Float[Tensor, "N F"], captions: EncodedCaptions, words: int
    ) -> None:
        super().__init__()
        roots = _roots(features)
        targets = leading_directions(captions)
        self.register_buffer("mean", roots.mean(0))
        self.register_buffer("scale", 1 / (roots.std(0) + 1e-3))
        self.register_buffer("targets", targets)
        self.spread = float(targets.square().sum(1).mean())
        """The error of the mean, which is 1 of `cider_loss`."""
        self.cider = nn.Linear(roots.shape[1], targets.shape[1])
        self.joint = JointEmbeddingPart(words, roots.shape[1], EMBEDDING_SIZE)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        with torch.no_grad():
            self.cider.weight.copy_(_ridge(roots - self.mean, targets))
            self.cider.bias.copy_(-self.cider.weight @ self.mean)

    def cider_loss(self, features: Float[Tensor, "B F"], photos: Int64[Tensor, " B"]) -> Tensor:
        """The squared error of the predicted CIDEr vectors, as a fraction of that of their mean."""
        kept = nn.functional.dropout(_roots(features) - self.mean, DROPOUT) + self.mean
        error = self.cider(kept) - self.targets[photos]
        loss: Tensor = error.square().sum(1).mean() / self.spread
        return loss

    def joint_loss(
        self, features: Float[Tensor, "B F"], sentences: Sequence[Sequence[int]]
    ) -> Tensor:
        """Of telling the photo of each sentence, and the sentence of each photo, in nats."""
        images = self.joint.embed_image(self._scaled(features), DROPOUT)
        similarity = self.joint.embed_text(sentences, 0.0) @ images.t()
        return contrastive_loss(similarity * self.sharpness.exp()) / 2

    def similarity(
        self, features: Float[Tensor, "N F"], sentences: Sequence[Sequence[int]]
    ) -> Float[Tensor, "_ N"]:
        """Of each sentence to each photo."""
        images = self.joint.embed_image(self._scaled(features), 0.0)
        return self.joint.embed_text(sentences, 0.0) @ images.t()

    def _scaled(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        return (_roots(features) - self.mean) * self.scale


def leading_directions(captions: EncodedCaptions) -> Float[Tensor, "N D"]:
    """The CIDEr vector of each image's captions along the directions that differ most.

    Their scale is CIDEr-D's. A smaller one would have smaller weights, and for these the steps of
    the optimizer, whose size does not depend on the loss, are too large.
    """
    own = captions.by_image
    vectors = CiderVectors(own, NGRAMS).of(own)
    mean = (torch.sparse.sum(vectors, 0).to_dense() / len(own))[None]
    count = min(DIRECTIONS, *vectors.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, sizes, _ = torch.svd_lowrank(vectors, count, niter=2, M=mean.expand(len(own), -1))
    return (left * sizes).float()


def _roots(features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
    return (features + LEAST_ROOT).sqrt()


def _ridge(centred: Float[Tensor, "N F"], targets: Float[Tensor, "N D"]) -> Float[Tensor, "D F"]:
    """The weights of a regression with a penalty."""
    x = centred.double()
    gram = x.t() @ x
    gram.diagonal().add_(PENALTY * float(gram.diagonal().mean()) + 1e-9)
    weights: Tensor = torch.linalg.solve(gram, x.t() @ targets.double())
    return weights.t().float()
