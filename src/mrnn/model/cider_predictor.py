"""The CIDEr-D that a caption can expect from the people who will describe its photo.

CIDEr is the mean cosine of a caption with the photo's references, as vectors of n-grams weighed by
how rare they are. The mean of the references' vectors is predicted from the photo's feature, by
ridge regression on the train split; the product with what is predicted is the CIDEr to expect. Of
the regression's matrix the directions that explain most are kept. So a model carries what
consensus re-ranking asks the captions of similar photos for, and needs no captions at hand.

CIDEr-D also keeps a caption from gaining by saying a thing twice, and by another length than its
references': here an n-gram counts once, as in nearly all references, and the penalty on length is
the mean over the captions of train.

Letters: N images, F image feature, S sentences, G n-grams, D directions, E those and one more,
L lengths.
Sources: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015; Izenman,
"Reduced-rank regression for the multivariate linear model", 1975.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from mrnn.errors import DataError
from mrnn.metrics.cider import SCALE, SIGMA
from mrnn.metrics.ngrams import LONGEST, ngrams
from mrnn.model.power_normalization import unit_roots
from mrnn.model.quantization import packed, unpacked
from mrnn.tokenizer import Vocabulary
from mrnn.training.batches import EncodedCaptions

IMAGES_AT_ONCE = 1000
NOTHING = -1
"""Fills up the spelling of n-grams that are shorter than the longest."""

IdNGram = tuple[int, ...]


class ExpectedCiderOptions(BaseModel):
    """How the regression is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ngrams: int = Field(default=8000, ge=1)
    """The n-grams that most images' captions have; others are never expected."""
    directions: int = Field(default=384, ge=1)
    """That are kept of the regression's matrix."""
    penalty: float = Field(default=0.25, ge=1e-6)
    """On the squares of its weights, by the mean square of a centred feature (unit roots)."""


@dataclass(frozen=True)
class ExpectedCider:
    """The regression, fitted."""

    spelling: Int[Tensor, "G 4"]
    """Word ids of each n-gram, filled up with `NOTHING`."""
    rarity: Float[Tensor, " G"]
    """Its weight in a sentence: log of one over the share of images whose captions have it."""
    rarest: Float[Tensor, " 1"]
    """The weight of all others, which count in a sentence's length alone."""
    mean: Float[Tensor, " G"]
    """What is expected of each n-gram where nothing is known of the photo."""
    ngram: Float[Tensor, "G D"]
    image: Float[Tensor, "D F"]
    centre: Float[Tensor, " F"]
    """The mean of the roots of features, scaled to unit length."""
    length: Float[Tensor, " L"]
    """The share of its score that a sentence of so many words keeps; the last is for any longer."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _rows(self) -> dict[IdNGram, int]:
        spelled = self.spelling.tolist()
        return {tuple(w for w in words if w != NOTHING): row for row, words in enumerate(spelled)}

    @torch.inference_mode()
    def see(self, images: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N E"]:
        """How far the photos with these features go in each direction; last, 1."""
        roots = unit_roots(torch.from_numpy(images.astype(np.float32)))
        return functional.pad((roots - self.centre) @ self.image.t(), (0, 1), value=1.0).numpy()

    @torch.inference_mode()
    def read(self, sentences: Sequence[Sequence[int]]) -> Float[np.ndarray, "S E"]:
        """How much CIDEr each direction brings to these sentences; last, what any photo does."""
        groups = [[sentence] for sentence in sentences]
        weights = _mean_vectors(groups, self._rows, self._rarity_of, once=True)
        both = torch.cat([self.ngram, self.mean[:, None]], dim=1)
        lengths = torch.tensor([len(sentence) for sentence in sentences], dtype=torch.long)
        kept = self.length[lengths.clamp(max=len(self.length) - 1)]
        vectors: np.ndarray = (torch.sparse.mm(weights.float(), both) * kept[:, None]).numpy()
        return vectors

    def score(
        self, sentences: Sequence[Sequence[Sequence[int]]], images: Float[np.ndarray, "N F"]
    ) -> list[Float[np.ndarray, " _"]]:
        """For each photo, of each of its own sentences the CIDEr to expect, near 0 to 10."""
        read = self.read([sentence for own in sentences for sentence in own])
        ends = np.cumsum([0, *map(len, sentences)])
        places = zip(ends[:-1], ends[1:], self.see(images), strict=True)
        return [read[first:end].astype(np.float64) @ photo for first, end, photo in places]

    @cached_property
    def _rarities(self) -> dict[IdNGram, float]:
        rarities = self.rarity.tolist()
        return {ngram: rarities[row] for ngram, row in self._rows.items()}

    def _rarity_of(self, ngram: IdNGram) -> float:
        return self._rarities.get(ngram, float(self.rarest))


def fit_expected_cider(
    features: Float[np.ndarray, "N F"], captions: EncodedCaptions, options: ExpectedCiderOptions
) -> ExpectedCider:
    """From the captions of a train split, rounded as a file keeps it. The same data, the same fit.

    Images without captions have no part in it. The work goes on in blocks of images, so that
    memory is taken by the matrices (F x F and G x F) and the count of n-grams alone. Raises
    DataError for captions without a known word.
    """
    images, firsts = np.unique(np.sort(captions.image_rows), return_index=True)
    order = np.split(np.argsort(captions.image_rows, kind="stable"), firsts[1:])
    own = [[captions.sentences[row].tolist() for row in rows] for rows in order]
    spread = Counter(ngram for sentences in own for ngram in set().union(*map(ngrams, sentences)))
    kept = _most_spread(spread, options.ngrams)
    rows = {ngram: row for row, ngram in enumerate(kept)}

    def rarity(ngram: IdNGram) -> float:
        return math.log(len(images) / spread[ngram])

    def unit(part: slice) -> Float[Tensor, "_ F"]:
        return unit_roots(torch.from_numpy(features[images[part]].astype(float)))

    parts = [slice(i, i + IMAGES_AT_ONCE) for i in range(0, len(images), IMAGES_AT_ONCE)]
    centre = torch.stack([unit(part).sum(0) for part in parts]).sum(0) / len(images)
    gram = torch.zeros(len(centre), len(centre), dtype=torch.float64)
    products = torch.zeros(len(kept), len(centre), dtype=torch.float64)
    mean = torch.zeros(len(kept), dtype=torch.float64)
    for part in parts:
        centred = unit(part) - centre
        wanted = SCALE / LONGEST * _mean_vectors(own[part], rows, rarity).t()
        gram += centred.t() @ centred
        products += torch.sparse.mm(wanted, centred)
        mean += torch.sparse.sum(wanted, 1).to_dense()
    ngram, image = _regress(gram, products.t(), options.penalty / len(images), options.directions)
    spelling = [[*spelled, *[NOTHING] * (LONGEST - len(spelled))] for spelled in kept]
    tensors = {
        "spelling": torch.tensor(spelling, dtype=torch.int32).view(len(kept), LONGEST),
        "rarity": torch.tensor([rarity(spelled) for spelled in kept]),
        "rarest": torch.tensor([math.log(len(images))]),
        "mean": mean / len(images), "ngram": ngram, "image": image, "centre": centre,
        "length": _kept_by_length([len(sentence) for each in own for sentence in each]),
    }  # fmt: skip
    floats = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return ExpectedCider(**unpacked(packed(floats)))


def _most_spread(spread: Counter[IdNGram], count: int) -> list[IdNGram]:
    """The n-grams of known words that most images' captions have."""
    known = (ngram for ngram in spread if Vocabulary.UNK not in ngram)
    kept = sorted(known, key=lambda ngram: (-spread[ngram], ngram))[:count]
    if not kept:
        raise DataError(
            "No train caption has a word of the vocabulary, so no CIDEr can be expected; "
            "look at them with mrnn check"
        )
    return kept


def _kept_by_length(theirs: Sequence[int]) -> Float[Tensor, " L"]:
    """What CIDEr-D's penalty leaves of a sentence of each length, as a mean over their lengths."""
    counts = torch.bincount(torch.tensor(theirs, dtype=torch.long)).double()
    ours = torch.arange(len(counts) + round(3 * SIGMA))[:, None]
    left = torch.exp(-((ours - torch.arange(len(counts))) ** 2) / (2 * SIGMA**2))
    return left.double() @ counts / counts.sum()


def _mean_vectors(
    groups: Sequence[Sequence[Sequence[int]]],
    rows: Mapping[IdNGram, int],
    rarity: Callable[[IdNGram], float],
    *,
    once: bool = False,
) -> Tensor:
    """The mean over each group's sentences of their vectors, as CIDEr has them: groups x G, sparse.

    In a sentence's vector the n-grams of one length are a vector of unit length, before what comes
    twice is counted `once`.
    """
    places, columns, values = array("q"), array("q"), array("d")
    for place, sentences in enumerate(groups):
        for counts in map(ngrams, sentences):
            weights = {ngram: count * rarity(ngram) for ngram, count in counts.items()}
            squares = [0.0] * (LONGEST + 1)
            for ngram, weight in weights.items():
                squares[len(ngram)] += weight**2
            for ngram, weight in weights.items():
                if weight and ngram in rows:
                    places.append(place)
                    columns.append(rows[ngram])
                    value = weight / counts[ngram] if once else weight
                    values.append(value / math.sqrt(squares[len(ngram)]) / len(sentences))
    index = torch.from_numpy(np.array([places, columns], dtype=np.int64))
    numbers = torch.from_numpy(np.array(values))
    shape = (len(groups), len(rows))
    return torch.sparse_coo_tensor(index, numbers, shape, check_invariants=True).coalesce()


def _regress(
    gram: Float[Tensor, "F F"], products: Float[Tensor, "F G"], penalty: float, directions: int
) -> tuple[Float[Tensor, "G _"], Float[Tensor, "_ F"]]:
    """The best matrix of so few directions, by squared error and penalty together.

    With `root` the Cholesky factor of the penalised Gram matrix X'X, these are the leading singular
    vectors of root^-1 X'Y. X is centred, so Y need not be. `penalty` is a share of the trace.
    """
    gram = gram.clone()
    gram.diagonal().add_(penalty * float(gram.trace()) + 1e-12)
    root = torch.linalg.cholesky(gram)
    explained = torch.linalg.solve_triangular(root, products, upper=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kept = min(directions, *explained.shape)
        left, sizes, right = torch.svd_lowrank(explained, q=kept, niter=2)
    image = torch.linalg.solve_triangular(root.t(), left * sizes, upper=True)
    return right, image.t()
