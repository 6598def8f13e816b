import numpy as np
import pytest
import torch
from torch.nn import functional

from mrnn.model import IGNORED, MRNN, ModelConfig

SIZES = {
    "vocabulary_size": 9,
    "image_size": 5,
    "embedding_size": 3,
    "recurrent_size": 4,
    "multimodal_size": 6,
}
WORDS = torch.tensor([[0, 4, 5, 8], [0, 6, 1, 1]])
TARGETS = torch.tensor([[4, 5, 8, 1], [6, 1, IGNORED, IGNORED]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MRNN(ModelConfig(**SIZES)).double().eval()
    with torch.no_grad():  # away from the tidy start, so that every term of an equation counts
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def images():
    return torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def equations(weights, words, image):
    """Section 4 of the paper, a word at a time, in numpy: the distribution after each word."""
    w_of = {name: tensor.numpy() for name, tensor in weights.items()}
    r = np.zeros(4)
    for word in words:
        one_hot = np.eye(9)[word]
        embedded = one_hot @ w_of["embedding_1.weight"]
        w = w_of["embedding_2.weight"] @ embedded + w_of["embedding_2.bias"]
        r = np.maximum(0, w_of["recurrence.weight"] @ r + w)
        m = (
            w_of["word_to_multimodal.weight"] @ w
            + w_of["recurrent_to_multimodal.weight"] @ r
            + w_of["recurrent_to_multimodal.bias"]
        )
        if "image_to_multimodal.weight" in w_of:
            m = m + w_of["image_to_multimodal.weight"] @ image
        m = 1.7159 * np.tanh(2 / 3 * m)
        y = np.exp(w_of["output.weight"] @ m + w_of["output.bias"])
        yield y / y.sum()


def test_forward_equals_the_equations(model, images):
    probabilities = model(WORDS, images).softmax(-1).detach().numpy()
    for b in range(2):
        expected = list(equations(model.state_dict(), WORDS[b].tolist(), images[b].numpy()))
        np.testing.assert_allclose(probabilities[b], expected, rtol=1e-12)


def test_rnn_base_is_the_equations_without_the_image(images):
    torch.manual_seed(0)
    model = MRNN(ModelConfig(**SIZES, sees_image=False)).double().eval()
    expected = list(equations(model.state_dict(), WORDS[0].tolist(), None))
    np.testing.assert_allclose(
        model(WORDS[:1], images[:1]).softmax(-1)[0].detach(), expected, rtol=1e-12
    )


def test_loss_is_minus_the_log_likelihood_of_the_targets(model, images):
    expected = 0.0
    for b in range(2):
        steps = equations(model.state_dict(), WORDS[b].tolist(), images[b].numpy())
        for target, probabilities in zip(TARGETS[b].tolist(), steps, strict=True):
            if target != IGNORED:
                expected -= np.log(probabilities[target])
    assert model.loss(WORDS, TARGETS, images).item() == pytest.approx(expected, rel=1e-12)


def test_gradients_are_those_of_finite_differences(model, images):
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), ())

    model.forward = lambda: model.loss(WORDS, TARGETS, images)
    assert torch.autograd.gradcheck(loss, values)


def test_blocked_output_layer_equals_the_plain_one(model, images, monkeypatch):
    logits = model(WORDS, images)
    plain = functional.cross_entropy(
        logits.flatten(0, 1), TARGETS.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    expected = torch.autograd.grad(plain, list(model.parameters()))
    monkeypatch.setattr("mrnn.model.ROWS_AT_ONCE", 2)
    gradients = torch.autograd.grad(model.loss(WORDS, TARGETS, images), list(model.parameters()))
    torch.testing.assert_close(gradients, expected)


def test_bfloat16_is_close_to_float32(images):
    torch.manual_seed(0)
    model = MRNN(ModelConfig(**SIZES)).eval()
    exact = model.loss(WORDS, TARGETS, images.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model.loss(WORDS, TARGETS, images.float())
    rough.backward()
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)


def test_reading_word_by_word_equals_reading_at_once(model):
    at_once, end = model.read(WORDS, model.begin(2))
    state, pieces = model.begin(2), []
    for t in range(4):
        piece, state = model.read(WORDS[:, t : t + 1], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), at_once)
    torch.testing.assert_close(state, end)


def test_advance_is_the_last_step_of_forward(model, images):
    _, state = model.read(WORDS[:, :3], model.begin(2))
    log_probs, _ = model.advance(WORDS[:, 3], state, model.see(images))
    torch.testing.assert_close(log_probs, model(WORDS, images)[:, 3].log_softmax(-1))


def test_recurrence_does_not_explode_at_the_start():
    torch.manual_seed(0)
    model = MRNN(ModelConfig(vocabulary_size=50, image_size=5)).eval()
    words = torch.randint(3, 50, (4, 200))
    _, state = model.read(words, model.begin(4))
    assert state.max() < 20


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    model = MRNN(ModelConfig(**SIZES, dropout=0.25))
    dropped = model._drop(torch.ones(1000, 1003))
    values, counts = dropped.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0, 4 / 3]))
    assert counts[0] / dropped.numel() == pytest.approx(0.25, abs=0.002)
    torch.testing.assert_close(dropped.mean(0), torch.ones(1003), atol=0.1, rtol=0)
    assert torch.equal(model.eval()._drop(dropped), dropped)


def test_squared_norm_counts_every_weight(model):
    expected = sum(float((p**2).sum()) for p in model.state_dict().values())
    assert model.squared_norm().item() == pytest.approx(expected)


def test_wrong_shape_is_caught_by_its_annotation(model, images):
    with pytest.raises(Exception, match="images"):
        model(WORDS, images[0])
