"""What a trained model needs to judge what fits a photo.

A joint space and sampled photos, and how to weigh the two, rank photos and sentences; with the
CIDEr to expect the space also orders the captions that a search finds. The model itself is left as
it is, and so is its perplexity.

Letters: N images, F image feature, Q queries, C candidates.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.cider_predictor import ExpectedCiderOptions, fit_expected_cider
from mrnn.model.heads import Weights
from mrnn.model.joint_embedding import JointSpaceOptions, train_joint_space
from mrnn.model.quantization import rounded
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.ranking import Ranker, best_candidates, first_by_score
from mrnn.training.batches import EncodedCaptions

SAMPLED_IMAGES = 200
QUERIES, CANDIDATES = 200, 20
"""Of what the weights are chosen on: every other photo of dev, so many at most."""
WEIGHTS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 160.0, 200.0, 300.0)


def train_ranker(
    checkpoint: Checkpoint,
    dataset: Dataset,
    options: JointSpaceOptions | None = None,
    expected: ExpectedCiderOptions | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Ranker:
    """By the train split; the weights by half of dev's photos, with all of dev as candidates.

    The same seed gives the same, bit for bit. Raises DataError where a split or a feature lacks.
    """
    options = options or JointSpaceOptions()
    train, features = _split(checkpoint, dataset, "train")
    size = len(checkpoint.vocabulary)
    space = train_joint_space(features, train, size, options, on_step)
    space.load_state_dict(
        {name: rounded(t) if t.ndim == 2 else t.half() for name, t in space.state_dict().items()}
    )
    random = torch.Generator().manual_seed(options.seed)
    drawn = torch.randperm(len(features), generator=random)[:SAMPLED_IMAGES]
    ranker = Ranker(
        checkpoint, space, rounded(torch.from_numpy(features[drawn.numpy()])).numpy(),
        Weights(sentence_to_image=0.0, image_to_sentence=0.0),
        fit_expected_cider(features, train, expected or ExpectedCiderOptions()),
    )  # fmt: skip
    return replace(ranker, weights=_choose_weights(ranker, *_split(checkpoint, dataset, "dev")))


def _split(
    checkpoint: Checkpoint, dataset: Dataset, name: str
) -> tuple[EncodedCaptions, Float[np.ndarray, "N F"]]:
    images = dataset.split(name)
    captions = EncodedCaptions.of([image.words for image in images], checkpoint.vocabulary)
    features = load_features(dataset, checkpoint.encoder).of(images).astype(np.float32)
    return captions, features


def _choose_weights(
    ranker: Ranker,
    captions: EncodedCaptions,
    features: Float[np.ndarray, "N F"],
) -> Weights:
    """The weights under which the mean reciprocal rank of some of dev's queries is best."""
    vectors = ranker.read(captions.sentences)
    likeness = vectors @ ranker.see(features).T
    images = np.arange(0, len(features), 2)[:QUERIES]
    owned = np.isin(captions.image_rows, images)
    _, firsts = np.unique(captions.image_rows[owned], return_index=True)
    sentences = np.flatnonzero(owned)[firsts]  # one of each photo
    wanted = np.zeros(likeness.shape, dtype=bool)
    wanted[sentences] = best_candidates(likeness[sentences], CANDIDATES)
    distinct = (likeness - ranker.commonness(vectors)[:, None]).T[images]
    by_image = best_candidates(distinct, CANDIDATES)
    wanted[:, images] |= by_image.T
    model = ranker.checkpoint.model
    scores = log_likelihoods(model, captions.sentences, features, wanted=wanted)
    rivals = np.flatnonzero(by_image.any(axis=0))
    marginals = np.zeros(len(captions), dtype=np.float32)
    marginals[rivals] = ranker.near_marginals([captions.sentences[i] for i in rivals.tolist()])
    truth = captions.image_rows[:, None] == np.arange(len(features))
    return Weights(
        sentence_to_image=_best_weight(
            likeness[sentences], scores[sentences], wanted[sentences], truth[sentences]
        ),
        image_to_sentence=_best_weight(
            distinct, scores.T[images] - marginals, by_image, truth.T[images]
        ),
    )


def _best_weight(
    likeness: Float[np.ndarray, "Q C"],
    scores: Float[np.ndarray, "Q C"],
    chosen: Bool[np.ndarray, "Q C"],
    truth: Bool[np.ndarray, "Q C"],
) -> float:
    """The lowest of the best."""

    def mean_reciprocal_rank(weight: float) -> float:
        both = first_by_score(chosen, weight * likeness + scores, likeness)
        found = np.where(truth, both, -np.inf).max(axis=1, keepdims=True)
        return float((1 / (1 + (both > found).sum(axis=1))).mean())

    return max(WEIGHTS, key=mean_reciprocal_rank)
