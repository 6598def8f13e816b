import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mrnn.model.config import ModelConfig, ModelOptions
from mrnn.training.network import (
    IGNORED,
    MRNN,
    Dropout,
    SimpleRNN,
    TorchLanguageModel,
    network_of,
    seeded_dropout,
    sentence_loss,
)
from tests.torch_network import log_probabilities
from tests.training.test_devices import DEVICES

SIZES = {
    "vocabulary_size": 9,
    "image_size": 5,
    "embedding_size": 3,
    "recurrent_size": 4,
    "multimodal_size": 6,
}
WORDS = torch.tensor([[0, 4, 5, 8], [0, 6, 1, 1]])
TARGETS = torch.tensor([[4, 5, 8, 1], [6, 1, IGNORED, IGNORED]])


VARIANTS = {
    "paper": {},
    "rnn-base": {"sees_image": False},
    "sigmoid": {"recurrence": "sigmoid"},
    "one embedding": {"embedding_layers": 1, "embedding_size": 4},
    "one embedding, gru": {"embedding_layers": 1, "recurrence": "gru"},
    "plain tanh": {"multimodal_activation": "tanh"},
    "shared": {"shares_embedding": True},
    "three layers": {"recurrence": "tanh", "recurrent_layers": 3},
    "two of lstm": {"recurrence": "lstm", "recurrent_layers": 2},
    "simple": {
        "network": "simple-rnn", "recurrence": "sigmoid", "embedding_layers": 1,
        "embedding_size": 4, "sees_image": False, "multimodal_size": 512,
    },
}  # fmt: skip


def made(dropout=0.0, **variant):
    torch.manual_seed(0)
    model = network_of(ModelConfig(**SIZES | variant, dropout=dropout)).double().eval()
    with torch.no_grad():  # away from the tidy start, so that every term of an equation counts
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    return made(**request.param)


@pytest.fixture
def images():
    return torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def recur(model, inputs):
    """Every state; the layers have their own equations in test_recurrent_layers.py."""
    start = torch.zeros(1, model.recurrence.state_size, dtype=torch.float64)
    return model.recurrence(torch.tensor(np.array([inputs])), start)[0][0].detach().numpy()


def paper_recurrence(model, inputs):
    r = np.zeros(4)
    for w in inputs:
        r = np.maximum(0, model.recurrence.weight.detach().numpy() @ r + w)
        yield r


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def equations(model, words, image):
    """Section 4 of the paper, a word at a time, in numpy: the distribution after each word."""
    p = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    options = model.config
    inputs = [np.eye(9)[word] @ p["embedding_1.weight"] for word in words]
    if options.embedding_layers == 2:
        inputs = [p["embedding_2.weight"] @ w + p["embedding_2.bias"] for w in inputs]
    paper = options.recurrence == "relu"
    states = paper_recurrence(model, inputs) if paper else recur(model, inputs)
    for w, r in zip(inputs, states, strict=True):
        m = (
            p["word_to_multimodal.weight"] @ w
            + p["recurrent_to_multimodal.weight"] @ r
            + p["recurrent_to_multimodal.bias"]
        )
        if options.sees_image:
            m = m + p["image_to_multimodal.weight"] @ image
        scaled = options.multimodal_activation == "scaled-tanh"
        m = 1.7159 * np.tanh(2 / 3 * m) if scaled else np.tanh(m)
        v = p["output.weight"]
        if options.shares_embedding:
            m = p["multimodal_to_embedding.weight"] @ m + p["multimodal_to_embedding.bias"]
            m, v = np.maximum(0, m), p["embedding_1.weight"]
        yield softmax(v @ m + p["output.bias"])


def simple_equations(model, words, image):
    """Section 3 of the paper: x(t) = [w(t) r(t-1)], r(t) = sigmoid(U x(t)), softmax(V r(t))."""
    p = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    u = np.concatenate([p["embedding.weight"].T, p["recurrence.weight"]], axis=1)
    r = np.zeros(4)
    for word in words:
        x = np.concatenate([np.eye(9)[word], r])
        r = 1 / (1 + np.exp(-u @ x))
        yield softmax(p["output.weight"] @ r + p["output.bias"])


def equations_of(model):
    return simple_equations if isinstance(model, SimpleRNN) else equations


def test_forward_equals_the_equations(model, images):
    probabilities = log_probabilities(model, WORDS, images).exp().detach().numpy()
    for b in range(2):
        expected = list(equations_of(model)(model, WORDS[b].tolist(), images[b].numpy()))
        np.testing.assert_allclose(probabilities[b], expected, rtol=1e-12)


def test_only_a_network_that_sees_changes_with_the_image(model, images):
    one, other = (log_probabilities(model, WORDS, each) for each in (images, images + 1))
    same = torch.equal(one, other)
    assert same != model.config.sees_image


def test_image_length_scales_every_image_to_it():
    plain = MRNN(ModelConfig(**SIZES))
    scaled = MRNN(ModelConfig(**SIZES, image_length=10.0))
    scaled.load_state_dict(plain.state_dict())
    images = torch.randn(3, SIZES["image_size"])
    expected = plain.encode_image(10 * images / images.square().sum(1, keepdim=True).sqrt())
    torch.testing.assert_close(scaled.encode_image(images), expected)
    torch.testing.assert_close(scaled.encode_image(7 * images), expected)
    assert (scaled.encode_image(torch.zeros(1, SIZES["image_size"])) == 0).all()


def test_loss_is_minus_the_log_likelihood_of_the_targets(model, images):
    expected = 0.0
    for b in range(2):
        steps = equations_of(model)(model, WORDS[b].tolist(), images[b].numpy())
        for target, probabilities in zip(TARGETS[b].tolist(), steps, strict=True):
            if target != IGNORED:
                expected -= np.log(probabilities[target])
    assert sentence_loss(model, WORDS, TARGETS, images).item() == pytest.approx(expected, rel=1e-12)


def test_without_a_photo_the_images_part_is_zero(model, images):
    model.train()  # without dropout
    bare = sentence_loss(model, WORDS, TARGETS, images[:, :0])
    language, _ = model.encode_words(WORDS, model.initial_state(2))
    nothing = torch.zeros_like(language[..., : model.encode_image(images).shape[-1]])
    found = model.fuse(language, nothing)
    counted = TARGETS != IGNORED
    expected = -found[counted].gather(1, TARGETS[counted][:, None]).sum()
    torch.testing.assert_close(bare, expected)
    bare.backward()
    if model.config.sees_image:
        assert model.image_to_multimodal.weight.grad is None


@pytest.mark.parametrize("device", DEVICES[1:])
def test_another_device_gives_the_same(model, images, device):
    model, images = model.float(), images.float()
    expected = sentence_loss(model, WORDS, TARGETS, images)
    step = TorchLanguageModel(model)
    start, image = step.initial_state(2), step.encode_image(images.numpy())
    words = WORDS[:, 1].numpy()
    before = step.step(words, start, image)
    model.to(device)
    found = sentence_loss(model, WORDS.to(device), TARGETS.to(device), images.to(device))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
    after = TorchLanguageModel(model).step(words, start, image)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_gradients_are_those_of_finite_differences(model, images):
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), ())

    model.forward = lambda: sentence_loss(model, WORDS, TARGETS, images)
    fast = model.config != made().config  # of the variants by a random direction only
    assert torch.autograd.gradcheck(loss, values, fast_mode=fast)


def test_bfloat16_is_close_to_float32(model, images):
    model = model.float()
    exact = sentence_loss(model, WORDS, TARGETS, images.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = sentence_loss(model, WORDS, TARGETS, images.float())
    rough.backward()
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)


def test_word_by_word_equals_a_sentence_at_once(model):
    at_once, end = model.encode_words(WORDS, model.initial_state(2))
    state, pieces = model.initial_state(2), []
    for t in range(4):
        piece, state = model.encode_words(WORDS[:, t : t + 1], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), at_once)
    torch.testing.assert_close(state, end)


def test_steps_of_the_language_model_are_those_of_the_network(model, images):
    model, images = model.float(), images.float()
    decoded = TorchLanguageModel(model)
    image, state = decoded.encode_image(images.numpy()), decoded.initial_state(2)
    expected = log_probabilities(model, WORDS, images).detach().numpy()
    for t in range(4):
        found, state = decoded.step(WORDS[:, t].numpy(), state, image)
        np.testing.assert_allclose(found, expected[:, t], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_drops_its_fraction_and_keeps_the_mean(device):
    torch.manual_seed(0)
    drop = Dropout(0.25)
    dropped = drop(torch.ones(1000, 1003, device=device)).cpu()
    values, counts = dropped.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0, 4 / 3]))
    assert counts[0] / dropped.numel() == pytest.approx(0.25, abs=0.002)
    torch.testing.assert_close(dropped.mean(0), torch.ones(1003), atol=0.1, rtol=0)
    assert torch.equal(drop.eval()(dropped), dropped)


@pytest.mark.parametrize("device", DEVICES)
def test_a_seed_decides_what_is_dropped(device):
    drop, ones = Dropout(0.5), torch.ones(99, device=device)

    def dropped(seed):
        with seeded_dropout(seed, ones.device):
            return drop(ones), drop(ones)

    first, second = dropped(3)
    torch.rand(7)
    again, _ = dropped(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, dropped(4)[0])


def test_seeded_dropout_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:

        def dropped(seed):
            with seeded_dropout(seed, torch.device("cpu")):
                return [Dropout(0.5)(torch.ones(5000)) for _ in range(20)]

        together = list(pool.map(dropped, range(8)))
        for seed in range(8):
            assert all(map(torch.equal, together[seed], dropped(seed)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("probability", [0.002, 0.999])
def test_dropout_always_leaves_something(probability):
    kept = Dropout(probability)(torch.ones(1_000_000))
    assert torch.isfinite(kept).all()
    assert kept.mean().item() == pytest.approx(1, abs=0.1)


def test_dropout_is_for_training_only(images):
    for variant in VARIANTS.values():
        model, plain = made(dropout=0.5, **variant), made(**variant)
        expected = log_probabilities(plain, WORDS, images)
        assert torch.equal(log_probabilities(model, WORDS, images), expected)
        first, second = (log_probabilities(model.train(), WORDS, images) for _ in range(2))
        assert not torch.allclose(first, second)


def test_shared_weights_are_one_tensor():
    model = made(shares_embedding=True)
    assert model.output.weight is model.embedding_1.weight
    names = [name for name, _ in model.named_parameters()]
    assert "embedding_1.weight" in names
    assert "output.weight" not in names


def test_a_configuration_that_says_nothing_more_is_the_papers():
    names = {name: tuple(p.shape) for name, p in MRNN(ModelConfig(**SIZES)).named_parameters()}
    assert names == {
        "embedding_1.weight": (9, 3), "embedding_2.weight": (4, 3), "embedding_2.bias": (4,),
        "recurrence.weight": (4, 4), "word_to_multimodal.weight": (6, 4),
        "recurrent_to_multimodal.weight": (6, 4), "recurrent_to_multimodal.bias": (6,),
        "image_to_multimodal.weight": (6, 5), "output.weight": (9, 6), "output.bias": (9,),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_layers": 1}, "a relu recurrence adds .* be recurrent_size, 256, not 128$"),
        ({"network": "simple-rnn"}, "goes with embedding_layers = 1 and sees_image = false$"),
        (
            VARIANTS["simple"] | {"recurrent_size": 4, "multimodal_size": 6},
            "simple-rnn has no multimodal_size: leave it out$",
        ),
        (
            VARIANTS["simple"] | {"recurrent_size": 4, "shares_embedding": True},
            "simple-rnn has no shares_embedding",
        ),
    ],
)
def test_options_that_do_not_fit_together(options, message):
    with pytest.raises(ValidationError) as raised:
        ModelOptions(**options)
    assert re.search(message, str(raised.value.errors()[0]["ctx"]["error"]))


def test_wrong_shape_is_caught_by_its_annotation(model, images):
    with pytest.raises(Exception, match="features"):
        sentence_loss(model, WORDS, TARGETS, images[0])
