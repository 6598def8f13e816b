import numpy as np
import pytest
import torch

from mrnn.training.recurrent_layers import recurrence_of

KINDS = ["relu", "sigmoid", "tanh", "gru", "lstm"]
SIZE, BATCH, WORDS = 4, 3, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {"relu": lambda x: np.maximum(0, x), "sigmoid": sigmoid, "tanh": np.tanh}


def made(kind, layers):
    torch.manual_seed(0)
    recurrence = recurrence_of(kind, SIZE, SIZE, layers).double()
    with torch.no_grad():  # away from the tidy start
        for parameter in recurrence.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return recurrence


@pytest.fixture(params=[(kind, layers) for kind in KINDS for layers in (1, 3)], ids=str)
def recurrence(request):
    return made(*request.param)


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(BATCH, WORDS, SIZE, dtype=torch.float64)


def start_of(recurrence):
    torch.manual_seed(2)
    return torch.randn(BATCH, recurrence.state_size, dtype=torch.float64)


def gru_step(p, layer, x, h):
    """Cho et al. 2014, with the reset gate after the product, as libraries have it."""
    a = np.split(p[f"layers.weight_ih_l{layer}"] @ x + p[f"layers.bias_ih_l{layer}"], 3)
    b = np.split(p[f"layers.weight_hh_l{layer}"] @ h + p[f"layers.bias_hh_l{layer}"], 3)
    reset, update = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
    return (1 - update) * np.tanh(a[2] + reset * b[2]) + update * h


def lstm_step(p, layer, x, h, c):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    gates = (
        p[f"layers.weight_ih_l{layer}"] @ x + p[f"layers.bias_ih_l{layer}"]
        + p[f"layers.weight_hh_l{layer}"] @ h + p[f"layers.bias_hh_l{layer}"]
    )  # fmt: skip
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def equations(kind, layers, recurrence, inputs, state):
    """One sentence, a word at a time, in numpy: the highest states, and the last of all."""
    p = {name: tensor.numpy() for name, tensor in recurrence.state_dict().items()}
    parts = list(np.split(state, len(state) // SIZE))
    highest = []
    for x in inputs:
        for layer in range(layers):
            if kind == "lstm":
                h, c = parts[layer], parts[layers + layer]
                parts[layer], parts[layers + layer] = lstm_step(p, layer, x, h, c)
            elif kind == "gru":
                parts[layer] = gru_step(p, layer, x, parts[layer])
            else:
                if layer:
                    x = p[f"maps.{layer - 1}.weight"] @ x + p[f"maps.{layer - 1}.bias"]
                u = p["weight"] if layers == 1 else p[f"layers.{layer}.weight"]
                parts[layer] = ACTIVATIONS[kind](u @ parts[layer] + x)
            x = parts[layer]
        highest.append(x)
    return highest, np.concatenate(parts)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_equations(kind, layers, inputs):
    recurrence = made(kind, layers)
    start = start_of(recurrence)
    states, end = recurrence(inputs, start)
    for b in range(BATCH):
        sentence, state = inputs[b].numpy(), start[b].numpy()
        highest, last = equations(kind, layers, recurrence, sentence, state)
        np.testing.assert_allclose(states[b].detach(), highest, rtol=1e-12)
        np.testing.assert_allclose(end[b].detach(), last, rtol=1e-12)


def test_word_by_word_equals_at_once(recurrence, inputs):
    at_once, end = recurrence(inputs, start_of(recurrence))
    state, pieces = start_of(recurrence), []
    for t in range(WORDS):
        piece, state = recurrence(inputs[:, t : t + 1], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), at_once)
    torch.testing.assert_close(state, end)


def test_rows_of_a_state_can_be_gathered(recurrence, inputs):
    rows = torch.tensor([2, 0, 2])
    _, end = recurrence(inputs, start_of(recurrence))
    _, gathered = recurrence(inputs[rows], start_of(recurrence)[rows])
    torch.testing.assert_close(gathered, end[rows])


def test_gradients_are_those_of_finite_differences(recurrence, inputs):
    names, values = zip(*recurrence.named_parameters(), strict=True)
    start = start_of(recurrence)

    def call(inputs, start, *parameters):
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(recurrence, named, (inputs, start))

    inputs, start = inputs[:1, :3].clone().requires_grad_(), start[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(call, (inputs, start, *values))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close_to_float32(kind, inputs):
    recurrence, found = made(kind, 2).float(), []
    for low in (False, True):
        recurrence.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            states, _ = recurrence(inputs.float(), start_of(recurrence).float())
        states.float().square().sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in recurrence.parameters()])
        assert gradient.dtype == torch.float32
        found.append((states.float(), gradient))
    for exact, rough in zip(*found, strict=True):
        assert (rough - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_at_the_start_long_sentences_neither_explode_nor_lose_their_gradient(kind, layers):
    torch.manual_seed(0)
    recurrence = recurrence_of(kind, 64, 64, layers)
    inputs = (0.6 * torch.randn(8, 200, 64)).requires_grad_()
    states, _ = recurrence(inputs, torch.zeros(8, recurrence.state_size))
    assert states.abs().max() < 40
    states[:, -1].sum().backward()
    assert torch.isfinite(inputs.grad).all()
    norms = inputs.grad.norm(dim=2).mean(0)
    assert norms[-2] > 0.02 * norms[-1]
