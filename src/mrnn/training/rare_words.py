"""Places in the joint embedding for words that hardly any photo's captions have.

A network that learned from text knows words without photos: rows of its output layer are alike for
words that are said in the same places. A ridge regression from these rows to the joint embedding,
fitted to frequent words, places the rare ones.

Letters: V vocabulary, M columns of the output layer, D joint embedding.
Source: words are given the image weights of words that are used alike in Hendricks et al., "Deep
Compositional Captioning", CVPR 2016.
"""

import numpy as np
from safetensors.numpy import load_file

from mrnn.model.checkpoint import Checkpoint
from mrnn.model.network import WEIGHTS
from mrnn.model.power_normalization import unit_length
from mrnn.model.quantization import dequantize
from mrnn.shapes import Float, Float32, Int
from mrnn.tokenizer import EncodedCaptions

RARE = 5
"""A word in the captions of fewer photos is rare."""
FREQUENT = 10
"""The regression is fitted to words in the captions of so many photos, or more."""
PENALTY = 10.0
"""Of the regression, in units of the mean weight of a word."""


def embed_rare_words(
    words: Float32[np.ndarray, "V D"],
    output: Float[np.ndarray, "V M"],
    photos: Int[np.ndarray, " V"],
) -> Float32[np.ndarray, "V D"]:
    """The word vectors of a joint embedding, those of rare words replaced.

    `output` is the network's output layer, `photos` the number of photos whose captions have each
    word. Without frequent words, all stay.
    """
    rare, frequent = photos < RARE, photos >= FREQUENT
    if not frequent.any():
        return words
    rows = unit_length(output - output[frequent].mean(axis=0)).astype(np.float64)
    mean = words[frequent].mean(axis=0)
    weight = np.sqrt(photos[frequent])[:, None]
    inputs, targets = rows[frequent] * weight, (words[frequent] - mean) * weight
    gram = inputs.T @ inputs + PENALTY * weight.mean() ** 2 * np.eye(rows.shape[1])
    mapping = np.linalg.solve(gram, inputs.T @ targets)
    return np.where(rare[:, None], rows @ mapping + mean, words).astype(np.float32)


def output_layer(checkpoint: Checkpoint) -> Float32[np.ndarray, "V M"]:
    """The weights of a network's output layer."""
    weights = dequantize(load_file(checkpoint.folder / WEIGHTS))
    shares = checkpoint.config.model.shares_embedding
    return weights["embedding_1.weight" if shares else "output.weight"]


def photo_counts(captions: EncodedCaptions, vocabulary_size: int) -> Int[np.ndarray, " V"]:
    """The number of photos whose captions have each word."""
    owners = np.repeat(captions.image_rows, captions.lengths)
    words = np.concatenate([np.empty(0, np.int64), *captions.sentences])
    pairs = np.unique(owners * vocabulary_size + words)
    return np.bincount(pairs % vocabulary_size, minlength=vocabulary_size)
