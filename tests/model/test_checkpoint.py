import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from mrnn.errors import CheckpointError
from mrnn.model.checkpoint import (
    CONFIG,
    DIRECTIONS,
    ELMAN,
    FORMAT,
    MEAN,
    VOCABULARY,
    Checkpoint,
    save_weights,
)
from mrnn.model.image_encoder import load_encoder
from mrnn.model.manifest import write_manifest
from mrnn.model.network import (
    GRAPHS,
    WEIGHTS,
    WORDS,
    graph_digests,
    weight_shapes,
)
from mrnn.model.quantization import SCALE, dequantize, rounded
from mrnn.tokenizer import Vocabulary
from tests.conftest import trained_model
from tests.model.tiny_encoder import write_colour_encoder
from tests.torch_network import torch_network, word_log_likelihoods

AGAIN = "; copy the whole folder again"


def refused(folder, message):
    """Loading fails with one line: the path and the message."""
    with pytest.raises(CheckpointError) as raised:
        Checkpoint.load(folder)
    told = str(raised.value)
    assert told.isprintable()
    assert len(told.replace(str(folder), "")) <= 210
    assert told.replace(f"{folder}/", "") == message


def change_config(folder, **values):
    """Other values in config.json; those of a table are added to it."""
    config = json.loads((folder / CONFIG).read_text())
    for name, value in values.items():
        known = config.get(name)
        both = isinstance(known, dict) and isinstance(value, dict)
        config[name] = known | value if both else value
    (folder / CONFIG).write_text(json.dumps(config))


def write_over(folder):
    """The same files with another content."""
    for file in folder.iterdir():
        file.write_bytes(bytes(file.stat().st_size))


def change_tensors(model, change):
    tensors = load_file(model / WEIGHTS)
    change(tensors)
    save_file(tensors, model / WEIGHTS)


# Saved and loaded


def test_what_is_saved_is_loaded(model, vocabulary, colour_encoder):
    trained = trained_model(vocabulary, colour_encoder)
    checkpoint = Checkpoint.load(model)
    assert checkpoint.folder == model
    assert checkpoint.config.format == FORMAT
    assert checkpoint.config.recipe == "tiny"
    assert checkpoint.config.model == trained.network.config
    assert checkpoint.config.decoding == trained.recipe.decoding
    assert checkpoint.config.reranking == trained.recipe.reranking
    assert checkpoint.encoder == trained.encoder == colour_encoder.identity
    assert checkpoint.vocabulary == vocabulary
    assert checkpoint.heads is None
    assert sorted(file.name for file in model.iterdir()) == sorted(
        [CONFIG, VOCABULARY, WEIGHTS, *GRAPHS]
    )


VARIANTS = [
    {},
    {"shares_embedding": True},
    {"recurrence": "lstm", "recurrent_layers": 2},
    {"recurrence": "gru", "embedding_layers": 1},
    {"recurrent_layers": 3},
    {"sees_image": False},
    {"network": "simple-rnn", "embedding_layers": 1, "embedding_size": 6, "sees_image": False,
     "multimodal_size": 512},
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_matrices_take_a_byte_a_number_and_give_nearly_the_same(
    vocabulary, colour_encoder, tmp_path, variant
):
    trained = trained_model(vocabulary, colour_encoder, **variant)
    trained.save(tmp_path / "variant")
    checkpoint = Checkpoint.load(tmp_path / "variant")
    weights = dict(trained.network.named_parameters())
    matrices = {
        name for name, tensor in weights.items() if tensor.ndim == 2 and not ELMAN.fullmatch(name)
    }
    stored = load_file(tmp_path / "variant" / WEIGHTS)
    assert stored.keys() == {*weights, MEAN, DIRECTIONS, *(name + SCALE for name in matrices)}
    large = dequantize(stored)
    for name, tensor in weights.items():
        array = tensor.detach().numpy()
        kept = rounded(array) if name in matrices else array.astype(np.float16)
        assert stored[name].dtype == (np.int8 if name in matrices else np.float16)
        np.testing.assert_array_equal(large[name], kept)
    feature = np.random.default_rng(0).random(7, dtype=np.float32)
    for network in (trained.network, torch_network(checkpoint)):
        found = word_log_likelihoods(network, [3, 4, 5], feature)
        image = checkpoint.network.encode_image(feature[None])
        state, nats = checkpoint.network.initial_state(1), []
        for word, target in ((0, 3), (3, 4), (4, 5), (5, 1)):
            scores, state = checkpoint.network.step(np.array([word]), state, image)
            nats.append(scores[0, target])
        assert nats == pytest.approx(found, abs=0.05 if network is trained.network else 1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_small_recurrent_weights_beside_the_diagonal_are_kept(
    vocabulary, colour_encoder, tmp_path, layers
):
    """Those that a short training adds to .9 I; int8 would round them to 0."""
    trained = trained_model(vocabulary, colour_encoder, recurrent_layers=layers)
    own = {n: w for n, w in trained.network.named_parameters() if ELMAN.fullmatch(n)}
    assert len(own) == layers
    for weight in own.values():
        weight.data.add_(0.003 * torch.randn_like(weight))
    trained.save(tmp_path / "run")
    stored = torch_network(Checkpoint.load(tmp_path / "run")).state_dict()
    for name, weight in own.items():
        assert not np.allclose(rounded(weight.detach().numpy()), weight.detach(), atol=0.001)
        torch.testing.assert_close(stored[name], weight.detach(), atol=3e-4, rtol=0)


def test_familiarity_survives_exactly(model, vocabulary, colour_encoder):
    photos = np.random.default_rng(1).random((9, 7), dtype=np.float32)
    before = trained_model(vocabulary, colour_encoder).familiarity
    loaded = Checkpoint.load(model).familiarity
    assert loaded.score(photos).tolist() == before.score(photos).tolist()
    stored = load_file(model / WEIGHTS)
    assert {stored[name].dtype for name in (MEAN, DIRECTIONS)} == {np.dtype(np.float16)}


def test_a_second_save_gives_the_same_bytes(model, vocabulary, colour_encoder):
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    trained_model(vocabulary, colour_encoder).save(model)
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before


def test_config_is_for_people_too(model):
    config = json.loads((model / CONFIG).read_text())
    assert list(config)[:2] == ["format", "recipe"]
    assert config["encoder"]["name"] == "colour"
    assert config["model"]["recurrent_size"] == 6
    assert (model / CONFIG).read_text().count("\n") > 20


def test_a_fingerprint_changes_with_weights_words_and_encoder(model, checkpoint):
    found = {checkpoint.fingerprint}
    assert Checkpoint.load(model).fingerprint in found

    def changed():
        fingerprint = Checkpoint.load(model).fingerprint
        assert len(fingerprint) == 16
        assert fingerprint not in found
        found.add(fingerprint)

    Vocabulary(["a", "wall", "red", "green", "blue", "is", "an"]).save(model / VOCABULARY)
    changed()
    change_config(model, encoder={"resize_mode": "pad"})
    changed()
    change_tensors(model, lambda tensors: np.negative(*[tensors["output.bias"]] * 2))
    changed()
    before = Checkpoint.load(model).fingerprint
    change_config(model, recipe="other")
    assert Checkpoint.load(model).fingerprint == before


def test_graphs_stay_valid_for_other_weights_of_the_same_sizes(model):
    before = Checkpoint.load(model).network
    change_tensors(model, lambda tensors: tensors["output.bias"].fill(0))
    words, image = np.array([0]), np.zeros((1, 8), np.float32)
    (scores, _), (other, _) = (
        network.step(words, network.initial_state(1), image)
        for network in (before, Checkpoint.load(model).network)
    )
    assert np.abs(scores - other).max() > 0.1


def test_damaged_heads_are_refused_but_not_where_others_are_trained(model_with_heads):
    (model_with_heads / "heads.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"heads\.safetensors is damaged .*train-heads"):
        Checkpoint.load(model_with_heads)
    assert Checkpoint.load(model_with_heads, heads=False).heads is None


@pytest.mark.parametrize("change", [shutil.rmtree, write_over])
def test_a_network_needs_its_files_no_more_once_it_is_loaded(model, monkeypatch, change):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    feature = np.random.default_rng(0).random((1, 7), dtype=np.float32)

    def numbers(network):
        words, image = np.array([3]), network.encode_image(feature)
        language, state = network.encode_words(words, network.initial_state(1))
        every = [language, network.fuse(language, image)]
        every += network.step(words, state, image) + network.search_step(words, state, image)
        return [each.tolist() for each in every]

    expected = numbers(Checkpoint.load(model).network)
    network = Checkpoint.load(model).network
    change(model)
    assert numbers(network) == expected


def test_a_disk_that_fills_up_leaves_the_old_weights(model, checkpoint, monkeypatch):
    before = (model / WEIGHTS).read_bytes()

    def refuse(path, target):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        save_weights(model / WEIGHTS, {"a": np.ones((2, 2), np.float32)}, checkpoint.familiarity)
    assert (model / WEIGHTS).read_bytes() == before


# Its encoder


def test_the_encoder_is_one_that_ships_or_in_a_file_or_in_a_bundle(
    checkpoint, model, colour_encoder, tmp_path
):
    assert checkpoint.load_encoder().identity == checkpoint.encoder
    file = colour_encoder.file.rename(tmp_path / "mine.onnx")
    assert checkpoint.load_encoder(file).identity == checkpoint.encoder
    (model / "encoders").mkdir()
    file.rename(model / "encoders" / "colour.onnx")
    assert checkpoint.load_encoder().file == model / "encoders" / "colour.onnx"


def test_an_encoder_of_other_weights_is_refused(checkpoint, colour_encoder, tmp_path):
    file = write_colour_encoder(tmp_path / "other.onnx", other="1")
    weights = load_encoder(None, "squash", file).identity.weights
    with pytest.raises(CheckpointError) as error:
        checkpoint.load_encoder(file)
    assert str(error.value) == (
        f"This encoder is not the one that the model was trained with (weights {weights}, not "
        f"{colour_encoder.identity.weights}); give the file of that one by --encoder-file FILE"
    )


# Refused


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (CONFIG, None),
        (VOCABULARY, f"vocabulary.txt: is missing{AGAIN}"),
        (WEIGHTS, f"model.safetensors is missing{AGAIN}"),
        *((graph, f"{graph}: is missing{AGAIN}") for graph in GRAPHS),
    ],
)
def test_a_missing_file(model, file, message):
    (model / file).unlink()
    refused(
        model,
        message
        or f"{model} is not a trained model: it has no config.json. Give the folder that "
        "`mrnn train --out` wrote",
    )


def test_a_file_instead_of_a_folder(model):
    refused(model / CONFIG, f"config.json: cannot be read (Not a directory){AGAIN}")


HEAD = f'"format": {FORMAT}, "recipe": "x"'
NEWER = f"this version of mrnn reads {FORMAT}; upgrade mrnn, or train the model again"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", ":1: not JSON (Expecting property name enclosed in double quotes at column 2)"
              f"{AGAIN}"),
        (b"\xff", f":1: not UTF-8; save the file as UTF-8{AGAIN}"),
        ("[" * 100_000, f": not JSON that is used here: nested too deeply{AGAIN}"),
        (f'{{{HEAD}, "recipe": "y"}}',
         f": not JSON that is used here (the key 'recipe' is there twice){AGAIN}"),
        (f'{{{HEAD}, "a": NaN}}', f": not JSON that is used here (NaN is no number){AGAIN}"),
        ("[]", f": format None; {NEWER}"),
        ("{}", f": format None; {NEWER}"),
        ('{"format": 3}', f": format 3; {NEWER}"),
        ('{"format": 6}', f": format 6; {NEWER}"),
        ('{"format": -5}', f": format -5; {NEWER}"),
        ('{"format": 5.0}', f": format 5.0; {NEWER}"),
        ('{"format": true}', f": format True; {NEWER}"),
        ('{"format": "5\\n"}', f": format '5\\n'; {NEWER}"),
        ('{"format": "' + "5" * 99 + '"}', f": format '{'5' * 39}; {NEWER}"),
    ],
)  # fmt: skip
def test_a_config_that_is_none(model, content, message):
    (model / CONFIG).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(model, f"config.json{message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model: expected an object, not None"),
        ({"colour": "red"}, "colour is unknown"),
        ({"a\nb": 1}, "a\\nb is unknown"),
        ({"k" * 999: 1}, f"{'k' * 100} is unknown"),
        ({"decoding": {"beam_size": 0}}, "decoding.beam_size: expected greater than or equal to 1, "
                                         "not 0"),
        ({"decoding": {"beam_size": 1.0}}, "decoding.beam_size: expected a whole number, not 1.0"),
        ({"decoding": {"beam_size": "3"}}, "decoding.beam_size: expected a whole number, not '3'"),
        ({"decoding": {"prefix": 3}}, "decoding.prefix: expected text, not 3"),
        ({"model": {"sees_image": 1}}, "model.sees_image: expected true or false, not 1"),
        ({"model": {"recurrent_layers": 10**9}},
         "model.recurrent_layers: expected less than or equal to 100, not 1000000000"),
        ({"encoder": {"name": "n" * 1001}}, None),
        ({"reranking": {"similarity": 1}}, "reranking.similarity is unknown"),
        ({"reranking": json.loads("[" * 900 + "]" * 900)}, None),
        ({"familiarity_median": -0.1}, "familiarity_median: expected greater than or equal to 0, "
                                       "not -0.1"),
        ({"familiarity_median": 0.5, "familiarity_edge": 0.5},
         "familiarity_edge must be above familiarity_median"),
    ],
)  # fmt: skip
def test_a_config_with_a_wrong_value(model, changes, message):
    change_config(model, **changes)
    if message:
        refused(model, f"config.json: {message}{AGAIN}")
        return
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{AGAIN}$"):
        Checkpoint.load(model)


def test_a_config_without_a_key(model):
    content = json.loads((model / CONFIG).read_text())
    del content["model"]
    (model / CONFIG).write_text(json.dumps(content))
    refused(model, f"config.json: model is missing{AGAIN}")


def test_a_network_that_cannot_be(model):
    change_config(model, model={"embedding_layers": 1})
    refused(
        model,
        "config.json: model: a relu recurrence adds the word to the state: with one embedding "
        f"layer embedding_size must be recurrent_size, 6, not 5{AGAIN}",
    )


SIMPLE = {
    "network": "simple-rnn", "embedding_layers": 1, "embedding_size": 6, "sees_image": False,
    "multimodal_size": 512,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"recurrent_size": 9}, {"recurrence": "lstm"}, {"recurrent_layers": 3},
        {"recurrent_size": 10**9}, {"embedding_layers": 1, "recurrence": "gru"},
        {"multimodal_size": 9}, {"shares_embedding": True}, {"sees_image": False}, SIMPLE,
    ],
    ids=str,
)  # fmt: skip
def test_a_config_of_other_weights(model, changes):
    """Nothing is allocated for what it says."""
    change_config(model, model=changes)
    message = r"model\.safetensors( lacks the|: .* is .*, not|.* has an unknown) .*" + AGAIN
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(model)


@pytest.mark.parametrize(
    "changes",
    [{"recurrence": "tanh"}, {"multimodal_activation": "tanh"}, {"image_length": 1.0}],
    ids=str,
)
def test_a_config_that_disagrees_with_the_graphs(model, changes):
    change_config(model, model=changes)
    refused(model, f"image.onnx does not fit config.json beside it{AGAIN}")


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_graph_of_another_network(model, vocabulary, colour_encoder, tmp_path, graph):
    """Its weights have the same layout."""
    other = tmp_path / "other"
    trained_model(vocabulary, colour_encoder, multimodal_activation="tanh").save(other)
    assert len((other / WEIGHTS).read_bytes()) == len((model / WEIGHTS).read_bytes())
    shutil.copyfile(other / graph, model / graph)
    refused(model, f"{graph} is not the graph that config.json beside it names{AGAIN}")


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("content", [b"", b"not a graph", None, bytes(2**20 + 1)])
def test_a_damaged_graph(model, graph, content):
    file = model / graph
    file.write_bytes(file.read_bytes()[:200] if content is None else content)
    with pytest.raises(CheckpointError, match=rf"{graph}(: larger| is not the graph)"):
        Checkpoint.load(model)


def test_a_graph_that_config_names_and_that_cannot_be_opened(model):
    """One who changes both gets no further."""
    config = Checkpoint.load(model).config.model
    (model / WORDS).write_bytes(b"not a graph")
    change_config(model, graphs=graph_digests(model, config))
    with pytest.raises(
        CheckpointError, match=r"words\.onnx is no graph that can be run \(.*\); copy"
    ):
        Checkpoint.load(model)


def test_weights_of_another_size(model, vocabulary, colour_encoder, tmp_path):
    trained_model(vocabulary, colour_encoder, multimodal_size=9).save(tmp_path / "other")
    shutil.copyfile(tmp_path / "other" / WEIGHTS, model / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: .* of shape \(9, 7\), not I8 of"
    ):
        Checkpoint.load(model)


def test_config_and_weights_of_another_size(model, vocabulary, colour_encoder, tmp_path):
    trained_model(vocabulary, colour_encoder, multimodal_size=9).save(tmp_path / "other")
    for file in (WEIGHTS, CONFIG):
        shutil.copyfile(tmp_path / "other" / file, model / file)
    refused(model, f"image.onnx is not the graph that config.json beside it names{AGAIN}")


def test_weights_laid_out_otherwise(model):
    """With metadata, say: then the graphs would read other places."""
    save_file(load_file(model / WEIGHTS), model / WEIGHTS, {"more": "than there was"})
    refused(model, f"image.onnx does not fit the weights beside it{AGAIN}")


def test_a_vocabulary_of_another_size(model):
    Vocabulary(["a", "wall"]).save(model / VOCABULARY)
    refused(
        model, f"vocabulary.txt holds 5 words and special tokens, but config.json says 10{AGAIN}"
    )
    change_config(model, model={"vocabulary_size": 5})
    refused(
        model,
        f"model.safetensors: embedding_1.weight is I8 of shape (10, 5), not I8 of shape (5, 5)"
        f"{AGAIN}",
    )


def test_a_damaged_vocabulary(model):
    (model / VOCABULARY).write_text("a\nwall\n")
    refused(model, f"vocabulary.txt, line 1: 'a' instead of <bos>{AGAIN}")


def test_features_of_another_size(model):
    change_config(model, encoder={"feature_size": 9})
    refused(
        model,
        f"config.json: the model takes features of 7 values, but its encoder makes 9{AGAIN}",
    )
    change_config(model, model={"image_size": 9})
    refused(
        model,
        f"model.safetensors: {DIRECTIONS} is F16 of shape (3, 7), not F16 of shape (any, 9){AGAIN}",
    )


@pytest.mark.parametrize(
    ("name", "tensor", "found"),
    [
        (MEAN, np.zeros(8, np.float16), "F16 of shape (8)"),
        (MEAN, np.zeros(7, np.float32), "F32 of shape (7)"),
        (MEAN, np.zeros((7, 1), np.float16), "F16 of shape (7, 1)"),
        (MEAN, np.array(0, np.float16), "F16 of shape ()"),
        (DIRECTIONS, np.zeros((2, 8), np.float16), "F16 of shape (2, 8)"),
        (DIRECTIONS, np.zeros((2, 7), np.int32), "I32 of shape (2, 7)"),
        (DIRECTIONS, np.zeros((2, 7), np.complex64), "C64 of shape (2, 7)"),
        (DIRECTIONS, np.zeros(7, np.float16), "F16 of shape (7)"),
    ],
)
def test_statistics_of_familiarity_that_do_not_fit(model, name, tensor, found):
    change_tensors(model, lambda tensors: tensors.update({name: tensor}))
    wanted = "(7)" if name == MEAN else "(any, 7)"
    refused(model, f"model.safetensors: {name} is {found}, not F16 of shape {wanted}{AGAIN}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(MEAN), f" lacks the tensor {MEAN}"),
        (lambda t: t.pop(DIRECTIONS), f" lacks the tensor {DIRECTIONS}"),
        (lambda t: t.pop("output.bias"), " lacks the tensor output.bias"),
        (lambda t: t.pop("output.weight.scale"), " lacks the tensor output.weight.scale"),
        (lambda t: t.update({"a\nb": np.full(1, np.nan)}), " has an unknown tensor 'a\\nb'"),
        (lambda t: t.update({"output.bias": np.ones(3, np.float16)}),
         ": output.bias is F16 of shape (3), not F16 of shape (10)"),
        (lambda t: t.update({"output.bias": t["output.bias"].astype(np.float32)}),
         ": output.bias is F32 of shape (10), not F16 of shape (10)"),
        (lambda t: t.update({"output.weight": t["output.weight"].astype(np.complex64)}),
         ": output.weight is C64 of shape (10, 8), not I8 of shape (10, 8)"),
        (lambda t: t.update({"output.weight": t["output.weight"] > 0}),
         ": output.weight is BOOL of shape (10, 8), not I8 of shape (10, 8)"),
        (lambda t: t.update({"output.weight": t["output.weight"].T.copy()}),
         ": output.weight is I8 of shape (8, 10), not I8 of shape (10, 8)"),
        (lambda t: t["output.weight.scale"].put(3, np.nan),
         ": output.weight.scale holds values that are not finite"),
        (lambda t: t["output.weight.scale"].put(3, 0),
         ": output.weight.scale holds scales beyond 0..65,536"),
        (lambda t: t["output.weight.scale"].put(3, -1),
         ": output.weight.scale holds scales beyond 0..65,536"),
        (lambda t: t["output.weight.scale"].put(3, 1e30),
         ": output.weight.scale holds scales beyond 0..65,536"),
        (lambda t: t["output.weight"].fill(0), ": output.weight holds only zeros"),
        (lambda t: t["output.bias"].put(3, -np.inf),
         ": output.bias holds values that are not finite"),
        (lambda t: t[MEAN].put(3, np.inf), f": {MEAN} holds values that are not finite"),
        (lambda t: t[DIRECTIONS].fill(0), f": {DIRECTIONS} holds rows that are not of unit length"),
    ],
)  # fmt: skip
def test_wrong_tensors(model, change, message):
    change_tensors(model, change)
    refused(model, f"model.safetensors{message}{AGAIN}")


@pytest.mark.parametrize("kind", ["BF16", "F8_E5M2"])
def test_numbers_that_numpy_does_not_know(model, kind):
    header = json.dumps({MEAN: {"dtype": kind, "shape": [0], "data_offsets": [0, 0]}}).encode()
    (model / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)
    refused(model, f"model.safetensors lacks the tensor embedding_1.weight{AGAIN}")


@pytest.mark.parametrize("kept", [0, 4, 100, -10])
def test_weights_that_are_cut_short(model, kept):
    (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged \(.{9,99}\)" + AGAIN):
        Checkpoint.load(model)


def test_a_folder_in_place_of_the_weights(model):
    (model / WEIGHTS).unlink()
    (model / WEIGHTS).mkdir()
    refused(model, f"model.safetensors is no file, but a folder or a device{AGAIN}")


def test_a_pickle_is_not_read(model):
    torch.save({"output.bias": torch.ones(10)}, model / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged \("):
        Checkpoint.load(model)


def test_a_bundle_that_was_changed(model):
    write_manifest(model, "0.1.0")
    Checkpoint.load(model)
    (model / VOCABULARY).write_text("<bos>\n")
    refused(model, "vocabulary.txt was changed since its export; copy the bundle again")


def test_no_weight_is_forgotten(vocabulary, colour_encoder):
    """The shapes that a config gives are those of the network in PyTorch."""
    for sizes in VARIANTS:
        network = trained_model(vocabulary, colour_encoder, **sizes).network
        shapes = {name: tuple(each.shape) for name, each in network.named_parameters()}
        assert weight_shapes(network.config) == shapes
