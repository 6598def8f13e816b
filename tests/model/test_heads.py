import json
import math
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mrnn.errors import CheckpointError
from mrnn.model.cider_predictor import CiderPredictor
from mrnn.model.confidence import Confidence, Signals
from mrnn.model.config import ModelConfig
from mrnn.model.heads import HEADS, Heads, RetrievalWeights
from mrnn.model.joint_embedding import JointEmbedding
from mrnn.model.quantization import dequantize, quantize

MODEL = "0123456789abcdef"
SIGNALS = len(Signals._fields)
CONFIG = ModelConfig(
    vocabulary_size=10, image_size=7, embedding_size=5, recurrent_size=6, multimodal_size=8
)


@pytest.fixture
def heads():
    """Random heads, rounded as stored: two parts of two dimensions, five photos, seven n-grams."""
    random = np.random.default_rng(1)

    def arrays(**shapes):
        drawn = {name: random.normal(size=shape) for name, shape in shapes.items()}
        return dequantize(quantize({name: a.astype(np.float32) for name, a in drawn.items()}))

    joint = arrays(
        words=(10, 4), image_weight=(4, 7), image_bias=4, feature_mean=7, feature_scale=7
    )
    ngrams = [[3], [4], [5], [3, 4], [4, 5], [3, 4, 5], [3, 4, 5, 6]]
    cider = arrays(
        idf=7, max_idf=1, ngram_weight=(7, 3), ngram_bias=7, image_weight=(3, 7), feature_mean=7,
        length_penalty=6,
    )  # fmt: skip
    cider |= {name: np.abs(cider[name]) for name in ("idf", "max_idf", "length_penalty")}
    return Heads(
        JointEmbedding(**joint, parts=2),
        arrays(sampled=(5, 7))["sampled"],
        RetrievalWeights(sentence_to_image=2, image_to_sentence=3),
        CiderPredictor(
            np.array([[*ngram, *[-1] * (4 - len(ngram))] for ngram in ngrams], np.int32), **cider
        ),
    )


@pytest.fixture
def features():
    return np.random.default_rng(2).normal(size=(4, 7)).astype(np.float32)


def test_what_is_saved_is_loaded(heads, features, tmp_path):
    heads.save(tmp_path, MODEL)
    assert [path.name for path in tmp_path.iterdir()] == [HEADS]
    loaded = Heads.load(tmp_path, CONFIG, MODEL)
    assert loaded.weights == heads.weights
    assert loaded.fingerprint == heads.fingerprint
    assert (loaded.sampled_features == heads.sampled_features).all()
    sentences = [[3, 4], [5]]
    assert (loaded.embed_text(sentences) == heads.embed_text(sentences)).all()
    assert (loaded.embed_image(features) == heads.embed_image(features)).all()
    scores = (each.predicted_cider([sentences] * 4, features) for each in (loaded, heads))
    assert all((one == other).all() for one, other in zip(*scores, strict=True))


CONFIDENCE = Confidence(*(np.full(n, 0.5, np.float32) for n in (SIGNALS, 1, SIGNALS)))


def test_confidence_is_saved_and_loaded_where_there_is_some(heads, tmp_path):
    heads.save(tmp_path, MODEL)
    assert Heads.load(tmp_path, CONFIG, MODEL).confidence is None
    confident = replace(heads, confidence=CONFIDENCE)
    assert confident.fingerprint == heads.fingerprint
    confident.save(tmp_path, MODEL)
    loaded = Heads.load(tmp_path, CONFIG, MODEL).confidence
    assert all((loaded.arrays[name] == CONFIDENCE.arrays[name]).all() for name in loaded.arrays)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("bias", None, " lacks the tensor confidence.bias"),
        (
            "weight", np.zeros(SIGNALS + 1, np.float16),
            f": confidence.weight is F16 of shape ({SIGNALS + 1}), not F16 of shape ({SIGNALS})",
        ),
        ("other", np.zeros(1, np.float16), " has an unknown tensor 'confidence.other'"),
    ],
)  # fmt: skip
def test_confidence_that_does_not_fit(heads, tmp_path, name, tensor, message):
    replace(heads, confidence=CONFIDENCE).save(tmp_path, MODEL)
    change(tmp_path / HEADS, tensors={f"confidence.{name}": tensor})
    assert refusal(tmp_path) == message


def test_the_same_heads_make_the_same_file(heads, tmp_path):
    heads.save(tmp_path, MODEL)
    first = (tmp_path / HEADS).read_bytes()
    Heads.load(tmp_path, CONFIG, MODEL).save(tmp_path, MODEL)
    assert (tmp_path / HEADS).read_bytes() == first


def test_similarity_is_the_cosine_of_a_photo_and_its_own_sentences(heads, features):
    sentences = [[3], [4, 5], [6, 7, 8], [9, 3], [4], [5, 5]]
    own = [sentences[:2], [], sentences[2:5], sentences[5:]]
    found = heads.similarity(own, features)
    whole = heads.embed_text(sentences) @ heads.embed_image(features).T
    assert [len(each) for each in found] == [2, 0, 3, 1]
    np.testing.assert_allclose(found[0], whole[:2, 0], atol=1e-6)
    np.testing.assert_allclose(found[2], whole[2:5, 2], atol=1e-6)
    np.testing.assert_allclose(found[3], whole[5:, 3], atol=1e-6)


def test_predicted_cider_is_the_predictors(heads, features):
    own = [[[3, 4], [5]], [[6]], [], [[3, 4, 5, 6]]]
    found = heads.predicted_cider(own, features)
    expected = heads.cider_predictor.score(own, features)
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))


def test_the_hubness_correction_is_half_a_soft_maximum_over_sampled_photos(heads):
    vectors = heads.embed_text([[3], [4, 5], []])
    similarity = vectors @ heads.embed_image(heads.sampled_features).T
    expected = [
        0.5 * 0.05 * math.log(sum(math.exp(each / 0.05) for each in own) / len(own))
        for own in similarity.tolist()
    ]
    assert heads.hubness_correction(vectors) == pytest.approx(expected, abs=1e-6)


def test_a_sentence_near_all_photos_is_a_hub(heads):
    towards = heads.embed_image(heads.sampled_features).mean(axis=0)
    common, rare = heads.hubness_correction(np.stack([towards, -towards]))
    assert common > 0 > rare


def test_the_fingerprint_changes_with_what_ranks(heads):
    joint = heads.joint_embedding
    others = [
        replace(heads, weights=RetrievalWeights(sentence_to_image=2, image_to_sentence=4)),
        replace(heads, sampled_features=-heads.sampled_features),
        replace(heads, joint_embedding=replace(joint, parts=1)),
        *(
            replace(heads, joint_embedding=replace(joint, **{name: -array}))
            for name, array in joint.arrays.items()
        ),
    ]
    prints = {each.fingerprint for each in [heads, *others]}
    assert len(prints) == 1 + len(others) == 9
    assert all(len(each) == 16 for each in prints)
    cider = replace(heads.cider_predictor, idf=-heads.cider_predictor.idf)
    assert replace(heads, cider_predictor=cider).fingerprint == heads.fingerprint


def test_a_model_without_heads(tmp_path):
    message = rf"^{tmp_path}/{HEADS} does not exist, so the model has no retrieval head\. Run: mrnn"
    with pytest.raises(CheckpointError, match=message):
        Heads.load(tmp_path, CONFIG, MODEL)


def change(file, header=None, tensors=None):
    """Other values in the header; other tensors, and none, nor their scales, for None."""
    with safe_open(file, framework="np") as opened:
        stored = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = json.loads(opened.metadata()["header"])
    stored |= tensors or {}
    gone = {name for name, tensor in stored.items() if tensor is None}
    gone |= {f"{name}.scale" for name in gone}
    stored = {name: tensor for name, tensor in stored.items() if name not in gone}
    save_file(stored, file, {"header": json.dumps({**metadata, **(header or {})})})


def refusal(folder):
    with pytest.raises(CheckpointError) as error:
        Heads.load(folder, CONFIG, MODEL)
    message = str(error.value)
    ending = (
        f". Run: mrnn train-heads {folder} --data DATA; without that file the model captions by "
        "likelihood alone"
    )
    assert message.startswith(f"{folder / HEADS}")
    assert message.endswith(ending)
    assert message.isprintable()
    return message.removeprefix(f"{folder / HEADS}").removesuffix(ending)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"model": "0" * 16}, " was made for another model"),
        ({"format": 9}, " has format 9, not 1, so upgrade mrnn if that is newer"),
        ({"format": True}, " has format True, not 1, so upgrade mrnn if that is newer"),
        ({"format": None}, " has format None, not 1, so upgrade mrnn if that is newer"),
        ({"weights": {}}, ": weights.sentence_to_image is missing"),
        ({"other": 1}, ": other is unknown"),
        ({"parts": 3}, ": 3 parts cannot share 4 dimensions"),
        ({"parts": 0}, ": parts: expected greater than or equal to 1, not 0"),
        (
            {"weights": {"sentence_to_image": math.nan, "image_to_sentence": 1}},
            ": its header is not JSON that is used here (NaN is no number)",
        ),
        (
            {"weights": {"sentence_to_image": "1", "image_to_sentence": 1}},
            ": weights.sentence_to_image: expected a number, not '1'",
        ),
    ],
)
def test_a_header_that_does_not_fit(heads, tmp_path, header, message):
    heads.save(tmp_path, MODEL)
    change(tmp_path / HEADS, header)
    assert refusal(tmp_path) == message


@pytest.mark.parametrize("metadata", [None, {}, {"header": "7"}])
def test_a_file_without_a_header(heads, tmp_path, metadata):
    save_file({"words": np.zeros(3)}, tmp_path / HEADS, metadata)
    assert refusal(tmp_path) == " has format None, not 1, so upgrade mrnn if that is newer"


TOKEN_IDS = "cider_predictor.token_ids"
NO_NGRAMS = f": {TOKEN_IDS} holds no n-grams of the vocabulary"


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("joint_embedding.image_weight", None, " lacks the tensor joint_embedding.image_weight"),
        ("sampled_features", None, " lacks the tensor sampled_features"),
        ("sampled_features.scale", None, " lacks the tensor sampled_features.scale"),
        ("cider_predictor.ngram_bias", None, " lacks the tensor cider_predictor.ngram_bias"),
        ("other", np.zeros(6, np.float16), " has an unknown tensor 'other'"),
        ("a\nb", np.zeros(6, np.float16), r" has an unknown tensor 'a\nb'"),
        ("joint_embedding.image_bias", np.zeros(6, np.float16),
         ": joint_embedding.image_weight is I8 of shape (4, 7), not I8 of shape (6, 7)"),
        ("joint_embedding.feature_mean", np.zeros(6, np.float16),
         ": joint_embedding.feature_mean is F16 of shape (6), not F16 of shape (7)"),
        ("joint_embedding.feature_mean", np.zeros(7, np.int32),
         ": joint_embedding.feature_mean is I32 of shape (7), not F16 of shape (7)"),
        ("joint_embedding.feature_mean", np.zeros(7, np.complex64),
         ": joint_embedding.feature_mean is C64 of shape (7), not F16 of shape (7)"),
        ("cider_predictor.idf", np.zeros(3, np.float16),
         ": cider_predictor.idf is F16 of shape (3), not F16 of shape (7)"),
        ("cider_predictor.idf", np.full(7, -1, np.float16),
         ": cider_predictor.idf holds values below 0"),
        ("cider_predictor.length_penalty", np.zeros((2, 2), np.float32),
         ": cider_predictor.length_penalty is F32 of shape (2, 2), not F16 of shape (2)"),
        ("joint_embedding.feature_scale", np.full(7, np.nan, np.float16),
         ": joint_embedding.feature_scale holds values that are not finite"),
        ("joint_embedding.words", np.zeros((10, 4), np.int8),
         ": joint_embedding.words holds only zeros"),
        ("joint_embedding.words.scale", np.zeros((10, 1), np.float32),
         ": joint_embedding.words.scale holds scales beyond 0..65,536"),
        (TOKEN_IDS, np.zeros((7, 4), np.float32),
         f": {TOKEN_IDS} is F32 of shape (7, 4), not I32 of shape (7, 4)"),
        (TOKEN_IDS, np.full((7, 4), -2, np.int32), NO_NGRAMS),
        (TOKEN_IDS, np.full((7, 4), -1, np.int32), NO_NGRAMS),
        (TOKEN_IDS, np.full((7, 4), 10, np.int32), NO_NGRAMS),
        (TOKEN_IDS, np.tile(np.array([3, -1, 4, -1], np.int32), (7, 1)), NO_NGRAMS),
    ],
)  # fmt: skip
def test_a_wrong_tensor(heads, tmp_path, name, tensor, message):
    heads.save(tmp_path, MODEL)
    change(tmp_path / HEADS, tensors={name: tensor})
    assert refusal(tmp_path) == message


def test_heads_of_another_vocabulary_or_encoder(heads, tmp_path):
    heads.save(tmp_path, MODEL)
    for size in ("vocabulary_size", "image_size"):
        message = r": \S+ is .* of shape .*\b(7|10)\b.*, not .*\b11\b"
        with pytest.raises(CheckpointError, match=message):
            Heads.load(tmp_path, CONFIG.model_copy(update={size: 11}), MODEL)


@pytest.mark.parametrize("kept", [0, 5, 300])
def test_a_damaged_file(heads, tmp_path, kept):
    heads.save(tmp_path, MODEL)
    file = tmp_path / HEADS
    file.write_bytes(file.read_bytes()[:kept])
    assert refusal(tmp_path).startswith(" is damaged (")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ("[" * 100_000, "not JSON that is used here: nested too deeply"),
        ('{"format": 1, "format": 1}',
         "not JSON that is used here (the key 'format' is there twice)"),
    ],
)  # fmt: skip
def test_a_header_that_is_not_json(tmp_path, header, message):
    save_file({"words": np.zeros(3)}, tmp_path / HEADS, {"header": header})
    assert refusal(tmp_path) == f": its header is {message}"


def test_a_folder_in_place_of_the_file(tmp_path):
    (tmp_path / HEADS).mkdir()
    assert refusal(tmp_path) == " is no file, but a folder or a device"
