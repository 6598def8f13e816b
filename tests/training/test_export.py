import json

import numpy as np
import onnx
import pytest
import torch

from mrnn.captioning.decode import decode
from mrnn.errors import CheckpointError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions
from mrnn.model.network import GRAPHS, IMAGE, SEARCH, WEIGHTS, Network, searches_in_int8, state_size
from mrnn.training.network import TorchLanguageModel
from tests.conftest import trained_model
from tests.torch_network import torch_network

SIMPLE = {
    "network": "simple-rnn", "embedding_layers": 1, "sees_image": False, "multimodal_size": 512,
}  # fmt: skip
VARIANTS = {
    "paper": {},
    "three layers of relu": {"recurrent_layers": 3},
    "sigmoid": {"recurrence": "sigmoid"},
    "three layers of sigmoid": {"recurrence": "sigmoid", "recurrent_layers": 3},
    "tanh": {"recurrence": "tanh"},
    "three layers of tanh": {"recurrence": "tanh", "recurrent_layers": 3},
    "gru": {"recurrence": "gru"},
    "two layers of gru": {"recurrence": "gru", "recurrent_layers": 2},
    "lstm": {"recurrence": "lstm"},
    "two layers of lstm": {"recurrence": "lstm", "recurrent_layers": 2},
    "one embedding": {"embedding_layers": 1, "embedding_size": 6},
    "one embedding, gru": {"embedding_layers": 1, "recurrence": "gru"},
    "plain tanh": {"multimodal_activation": "tanh"},
    "shared embedding": {"shares_embedding": True},
    "shared embedding, tanh": {"shares_embedding": True, "multimodal_activation": "tanh"},
    "rnn-base": {"sees_image": False},
    "image length": {"image_length": 10.0},
    "simple-rnn": SIMPLE | {"embedding_size": 6, "recurrence": "sigmoid"},
    "simple-rnn, lstm": SIMPLE | {"recurrence": "lstm", "recurrent_layers": 2},
}
PHOTOS = 6


def saved(vocabulary, encoder, folder, seed=0, **variant):
    """A network with large random weights, so that every term of an equation counts."""
    model = trained_model(vocabulary, encoder, **variant)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save(folder)
    return Checkpoint.load(folder)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def checkpoint(request, vocabulary, colour_encoder, tmp_path):
    return saved(vocabulary, colour_encoder, tmp_path / "run", **request.param)


@pytest.fixture
def features():
    features = np.random.default_rng(0).normal(size=(PHOTOS, 7)).astype(np.float32)
    features[-1] = 0  # has no length
    return features


def steps(vocabulary, count=5):
    random = np.random.default_rng(1)
    return [random.integers(0, len(vocabulary), PHOTOS) for _ in range(count)]


def close(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@torch.inference_mode()
def test_it_equals_the_network_in_pytorch(checkpoint, features, vocabulary):
    """Each part by itself, on the same inputs, over several words."""
    network, trained = checkpoint.network, torch_network(checkpoint)
    image, expected_image = (
        network.encode_image(features),
        trained.encode_image(torch.from_numpy(features)),
    )
    close(image, expected_image)
    state = network.initial_state(PHOTOS)
    close(state, trained.initial_state(PHOTOS))
    for words in steps(vocabulary):
        language, new_state = network.encode_words(words, state)
        expected_language, expected_state = trained.encode_words(
            torch.from_numpy(words)[:, None], torch.from_numpy(state)
        )
        close(language, expected_language[:, 0])
        close(new_state, expected_state)
        expected = trained.fuse(expected_language[:, 0], expected_image)
        close(network.fuse(language, image), expected)
        log_probabilities, stepped = network.step(words, state, image)
        close(log_probabilities, expected)
        assert (stepped == new_state).all()
        np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1, atol=1e-5)
        state = new_state


def test_on_several_threads_it_gives_the_same_bits(checkpoint, features, vocabulary, monkeypatch):
    """`fuse` takes all of them, `step` takes one; so many rows that they are divided."""
    rows = np.arange(300) % PHOTOS
    network, words = checkpoint.network, steps(vocabulary)[0][rows]
    image, state = network.encode_image(features)[rows], network.initial_state(len(rows))
    expected, _ = network.step(words, state, image)
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found = network.fuse(network.encode_words(words, state)[0], image)
        np.testing.assert_array_equal(found, expected)


def test_it_stays_near_pytorch_over_a_sentence(checkpoint, features, vocabulary):
    network, trained = checkpoint.network, TorchLanguageModel(torch_network(checkpoint))
    image, expected_image = network.encode_image(features), trained.encode_image(features)
    state = expected_state = network.initial_state(PHOTOS)
    for words in steps(vocabulary, 20):
        found, state = network.step(words, state, image)
        expected, expected_state = trained.step(words, expected_state, expected_image)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_search_steps_are_near_exact_ones(checkpoint, features, vocabulary):
    network = checkpoint.network
    image, state = network.encode_image(features), network.initial_state(PHOTOS)
    differences = []
    for words in steps(vocabulary, 10):
        found, found_state = network.search_step(words, state, image)
        exact, state = network.step(words, state, image)
        np.testing.assert_allclose(found_state, state, atol=1e-6)
        differences.append(np.abs(found - exact))
    assert np.max(differences) < 0.05
    assert np.mean(differences) < 0.01
    assert (np.max(differences) > 0) == searches_in_int8(network.config)


def test_a_row_of_a_search_step_is_the_same_alone_and_in_a_batch(checkpoint, features, vocabulary):
    network = checkpoint.network
    if not searches_in_int8(network.config):
        pytest.skip("this network has no int8 graph")
    image, state = network.encode_image(features), network.initial_state(PHOTOS)
    for words in steps(vocabulary):
        together, new_state = network.search_step(words, state, image)
        for row in range(PHOTOS):
            alone, _ = network.search_step(
                words[[row]], state[[row]], np.ascontiguousarray(image[[row]])
            )
            assert (alone[0] == together[row]).all()
        state = new_state


def test_captions_are_those_of_pytorch(checkpoint, features):
    options = DecodingOptions(beam_size=3, max_length=8)
    trained = TorchLanguageModel(torch_network(checkpoint))
    ours, theirs = (
        [found[0].words for found in decode(model, model.encode_image(features), options)]
        for model in (checkpoint.network, trained)
    )
    assert ours == theirs


def test_graphs_hold_no_weights(checkpoint, vocabulary, colour_encoder, tmp_path):
    config = checkpoint.network.config
    larger = saved(
        vocabulary, colour_encoder, tmp_path / "larger",
        **config.model_dump(exclude={"vocabulary_size", "image_size"})
        | {"recurrent_size": 60, "embedding_size": 60},
    )  # fmt: skip
    for folder in (checkpoint.folder, larger.folder):
        graphs = {file.name for file in folder.glob("*.onnx")}
        assert graphs <= set(GRAPHS)
        assert (IMAGE in graphs) == config.sees_image
        assert (SEARCH in graphs) == searches_in_int8(config)
        for name in graphs:
            assert (folder / name).stat().st_size < 10_000
            onnx.checker.check_model(folder / name)


def test_the_same_graphs_fit_other_weights_of_the_same_sizes(
    checkpoint, vocabulary, colour_encoder, features, tmp_path
):
    variant = checkpoint.network.config.model_dump(exclude={"vocabulary_size", "image_size"})
    other = saved(vocabulary, colour_encoder, tmp_path / "other", seed=1, **variant)
    for graph in checkpoint.folder.glob("*.onnx"):
        assert graph.read_bytes() == (other.folder / graph.name).read_bytes()
    words, state = np.full(PHOTOS, 4), other.network.initial_state(PHOTOS)

    def step(network):
        return network.step(words, state, network.encode_image(features))[0]

    before = step(checkpoint.network)
    (checkpoint.folder / WEIGHTS).write_bytes((other.folder / WEIGHTS).read_bytes())
    after = step(Checkpoint.load(checkpoint.folder).network)
    assert (after == step(other.network)).all()
    assert np.abs(before - after).max() > 0.1


def test_the_state_has_the_size_that_the_configuration_says(checkpoint):
    assert state_size(checkpoint.network.config) == torch_network(
        checkpoint
    ).recurrence.state_size  # fmt: skip


def test_graphs_of_other_sizes_are_refused(vocabulary, colour_encoder, tmp_path):
    first = saved(vocabulary, colour_encoder, tmp_path / "first")
    other = saved(vocabulary, colour_encoder, tmp_path / "other", embedding_size=9)
    for graph in other.folder.glob("*.onnx"):
        (first.folder / graph.name).write_bytes(graph.read_bytes())
    with pytest.raises(
        CheckpointError, match=r"\.onnx is not the graph that config\.json .* copy the whole"
    ):
        Checkpoint.load(first.folder)


def test_rows_of_a_larger_search_step_are_the_same_in_any_batch(
    vocabulary, colour_encoder, tmp_path
):
    """Of the sizes of real models, where a processor's kernels differ between batch sizes."""
    sizes = {"embedding_size": 64, "recurrent_size": 256, "multimodal_size": 512}
    model = saved(vocabulary, colour_encoder, tmp_path / "run", **sizes).network
    random = np.random.default_rng(0)
    words, image = random.integers(3, 10, 200), random.normal(size=(200, 512)).astype(np.float32)
    state = random.random((200, 256), np.float32)
    whole, _ = model.search_step(words, state, image)
    for start, end in ((0, 1), (7, 10), (50, 114), (3, 200)):
        part, _ = model.search_step(words[start:end], state[start:end], image[start:end])
        assert (part == whole[start:end]).all()


def test_config_json_comes_last(vocabulary, colour_encoder, tmp_path, limited):
    """A folder is a model only when all of its files are there."""
    with pytest.raises(OSError, match="File too large"), limited(600):
        trained_model(vocabulary, colour_encoder).save(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"is not a trained model: it has no config\.json"):
        Checkpoint.load(tmp_path / "run")
    trained_model(vocabulary, colour_encoder).save(tmp_path / "run")
    network = Checkpoint.load(tmp_path / "run").network
    assert isinstance(network, Network)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"] == "tiny"
