"""Fitting of the CIDEr predictor, see `mrnn.model.cider_predictor`.

Letters: N images, F image feature, G n-grams, D directions, L lengths.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrnn.data.features import Features
from mrnn.metrics.cider import SIGMA
from mrnn.metrics.ngrams import LONGEST
from mrnn.model.cider_predictor import PADDING, CiderPredictor
from mrnn.model.quantization import dequantize, quantize
from mrnn.shapes import Float, Int
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.cider_vectors import CiderVectors
from mrnn.training.power_normalization import power_normalize
from mrnn.training.recipe import CiderPredictorOptions

BLOCK = 1000
"""Images worked on at a time, to bound memory."""
OVERSAMPLED = 64
"""Directions that are sought beyond those that are kept; without them the last are poor."""


class _Moments(NamedTuple):
    """What the regression needs: X the centred features of images, Y their references' vectors."""

    feature_mean: Float[Tensor, " F"]
    ngram_mean: Float[Tensor, " G"]
    gram: Float[Tensor, "F F"]
    """X'X."""
    products: Float[Tensor, "G F"]
    """Y'X."""


def fit_cider_predictor(
    features: Float[np.ndarray, "N F"] | Features,
    captions: EncodedCaptions,
    options: CiderPredictorOptions,
    text: Sequence[Sequence[Sequence[int]]] = (),
) -> CiderPredictor:
    """From the captions of a train split, rounded as stored. The same data give the same fit.

    `text` has captions of other photos, of which no feature is known, see `CiderVectors`. Images
    without captions are left out. Features are read a block at a time, so memory is that of the
    matrices (F x F and G x F), of the n-gram counts and of the text's vectors alone. Raises
    DataError for captions without a known word.
    """
    by_image = captions.by_image
    images = np.flatnonzero([bool(sentences) for sentences in by_image])
    own = [by_image[row] for row in images]
    vectors = CiderVectors(own, options.ngrams, text, options.neighbours)
    moments = _moments(features, images, own, vectors)
    ngram_weight, image_weight = _regress(
        moments.gram, moments.products.t(), options.penalty / len(images), options.directions
    )
    ids = [[*ngram, *[PADDING] * (LONGEST - len(ngram))] for ngram in vectors.ngrams]
    lengths = [len(sentence) for sentences in own for sentence in sentences]
    arrays = {
        "token_ids": np.array(ids, dtype=np.int32),
        "idf": np.array([vectors.idf(ngram) for ngram in vectors.ngrams], dtype=np.float32),
        "max_idf": np.array([math.log(len(images))], dtype=np.float32),
        "ngram_weight": ngram_weight.float().numpy(),
        "ngram_bias": moments.ngram_mean.float().numpy(),
        "image_weight": image_weight.float().numpy(),
        "feature_mean": moments.feature_mean.float().numpy(),
        "length_penalty": _length_penalties(lengths).float().numpy(),
    }
    return CiderPredictor(**dequantize(quantize(arrays)))


def _moments(
    features: Float[np.ndarray, "N F"] | Features,
    images: Int[np.ndarray, " _"],
    sentences: Sequence[Sequence[Sequence[int]]],
    vectors: CiderVectors,
) -> _Moments:
    """Of these images of all N, each with its own sentences."""

    def normalized(block: slice) -> Float[Tensor, "_ F"]:
        return power_normalize(torch.from_numpy(features[images[block]].astype(float)))

    blocks = [slice(start, start + BLOCK) for start in range(0, len(images), BLOCK)]
    mean = torch.stack([normalized(block).sum(0) for block in blocks]).sum(0) / len(images)
    gram = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    products = torch.zeros(len(vectors.ngrams), len(mean), dtype=torch.float64)
    total = torch.zeros(len(vectors.ngrams), dtype=torch.float64)
    for block in blocks:
        centred = normalized(block) - mean
        targets = vectors.of(sentences[block]).t()
        gram += centred.t() @ centred
        products += torch.sparse.mm(targets, centred)
        total += torch.sparse.sum(targets, 1).to_dense()
    return _Moments(mean, total / len(images), gram, products)


def _length_penalties(theirs: Sequence[int]) -> Float[Tensor, " L"]:
    """CIDEr-D's factor for a sentence of each length, as a mean over the lengths of references."""
    counts = torch.bincount(torch.tensor(theirs, dtype=torch.long)).double()
    ours = torch.arange(len(counts) + round(3 * SIGMA))[:, None]
    left = torch.exp(-((ours - torch.arange(len(counts))) ** 2) / (2 * SIGMA**2))
    return left.double() @ counts / counts.sum()


def _regress(
    gram: Float[Tensor, "F F"], products: Float[Tensor, "F G"], penalty: float, directions: int
) -> tuple[Float[Tensor, "G _"], Float[Tensor, "_ F"]]:
    """The best matrix of this rank, by squared error and penalty together.

    With `root` the Cholesky factor of the penalised Gram matrix X'X, these are the leading singular
    vectors of root^-1 X'Y. X is centred, so Y need not be. `penalty` is a fraction of the trace.
    """
    gram = gram.clone()
    gram.diagonal().add_(penalty * float(gram.trace()) + 1e-12)
    root = torch.linalg.cholesky(gram)
    explained = torch.linalg.solve_triangular(root, products, upper=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sought = min(directions + OVERSAMPLED, *explained.shape)
        left, sizes, right = torch.svd_lowrank(explained, q=sought, niter=2)
    image = torch.linalg.solve_triangular(root.t(), (left * sizes)[:, :directions], upper=True)
    return right[:, :directions], image.t()
