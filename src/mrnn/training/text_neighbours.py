"""Joins the captions of a photo with similar captions of other photos: its own are few.

Letters: B photos, T photos of text, G n-grams.
Source: the kernel regression of Nadaraya, "On Estimating Regression", 1964, and Watson, "Smooth
Regression Analysis", 1964; here from captions to captions.
"""

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, vstack
from torch import Tensor

from mrnn.shapes import Float
from mrnn.training.recipe import NeighbourOptions

COSINES = 2**24
"""The most in memory: those of some photos and all of the text."""


class TextNeighbours:
    """Photos of text, known by their captions alone.

    The CIDEr vector y of a photo's captions becomes (y + sum of k t) / (1 + sum of k) over the
    vectors t of the `count` most similar photos of the text, with k = exp((cos(y, t) -
    `similarity`) / `temperature`). So photos whose captions resemble much of the text take most
    from it, others keep their own.
    """

    def __init__(self, vectors: Float[Tensor, "T G"], options: NeighbourOptions) -> None:
        """`vectors` are sparse."""
        self._vectors, self._options = _scipy(vectors), options
        self._units = _units(self._vectors).astype(np.float32)

    def join(self, vectors: Float[Tensor, "B G"]) -> Float[Tensor, "B G"]:
        """The vectors of these photos, joined with those of the text. All are sparse."""
        own = _scipy(vectors)
        size = max(1, COSINES // self._vectors.shape[0])
        blocks = [own[start : start + size] for start in range(0, own.shape[0], size)]
        joined = vstack([self._join(block) for block in blocks]).tocoo()
        places = torch.from_numpy(np.stack([joined.row, joined.col]).astype(np.int64))
        values = torch.from_numpy(joined.data)
        return torch.sparse_coo_tensor(
            places, values, joined.shape, check_invariants=True
        ).coalesce()

    def _join(self, own: csr_array) -> csr_array:
        similarity = (self._units @ _units(own).astype(np.float32).toarray().T).T
        count = min(self._options.count, similarity.shape[1])
        columns = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        beyond = np.take_along_axis(similarity, columns, 1) - self._options.similarity
        counts = np.exp(beyond.astype(float) / self._options.temperature)
        whole = 1 + counts.sum(1)
        shares = csr_array(
            (
                (counts / whole[:, None]).ravel(),
                columns.ravel(),
                np.arange(0, counts.size + 1, count),
            ),
            shape=similarity.shape,
        )
        return shares @ self._vectors + diags_array(1 / whole) @ own


def _scipy(vectors: Float[Tensor, "_ G"]) -> csr_array:
    vectors = vectors.coalesce()
    rows, columns = vectors.indices().numpy()
    return csr_array((vectors.values().numpy(), (rows, columns)), shape=tuple(vectors.shape))


def _units(vectors: csr_array) -> csr_array:
    """Each scaled to length 1; those of 0 stay."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    return diags_array(1 / np.maximum(lengths, 1e-12)) @ vectors
