import pytest
import torch
from torch import nn
from torch.nn import functional

from mrnn.training import loss as likelihood
from mrnn.training.loss import IGNORED, negative_log_likelihood
from tests.training.test_devices import DEVICES

TARGETS = torch.tensor([4, 5, 8, 1, 6, 1, 1])


@pytest.mark.parametrize(("rows", "step"), [(1, 1), (3, 1), (4, 2), (6, 3), (7, 7), (512, 64)])
def test_blocks_equal_the_library_at_once(monkeypatch, rows, step):
    monkeypatch.setattr(likelihood, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(likelihood, "ROWS_IN_STEP", step)
    torch.manual_seed(0)
    output = nn.Linear(6, 9).double()
    hidden = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    inputs = [hidden, output.weight, output.bias]
    plain = functional.cross_entropy(output(hidden), TARGETS, reduction="sum")
    found = negative_log_likelihood(output, hidden, TARGETS)
    torch.testing.assert_close(found, plain)
    expected = torch.autograd.grad(3 * plain, inputs)
    torch.testing.assert_close(torch.autograd.grad(3 * found, inputs), expected)


def test_no_gradient_is_made_where_none_is_wanted():
    output, hidden = nn.Linear(6, 9), torch.randn(7, 6)
    with torch.no_grad():
        loss = negative_log_likelihood(output, hidden, TARGETS)
    assert not loss.requires_grad
    plain = functional.cross_entropy(output(hidden), TARGETS, reduction="sum")
    torch.testing.assert_close(loss, plain.detach())


def test_without_words_all_gradients_are_zero():
    output, hidden = nn.Linear(6, 9), torch.randn(0, 6, requires_grad=True)
    negative_log_likelihood(output, hidden, TARGETS[:0]).backward()
    assert not output.weight.grad.any()
    assert not output.bias.grad.any()


def test_unlikely_words_stay_finite():
    output = nn.Linear(1, 2, bias=False)
    output.bias = nn.Parameter(torch.tensor([0.0, -1000.0]))
    loss = negative_log_likelihood(output, torch.zeros(1, 1), torch.tensor([1]))
    assert loss.item() == pytest.approx(1000)


def test_bfloat16_is_close_to_float32():
    torch.manual_seed(0)
    output, hidden = nn.Linear(32, 90), torch.randn(70, 32, requires_grad=True)
    inputs, targets = [hidden, output.weight, output.bias], torch.randint(90, (70,))
    exact = functional.cross_entropy(output(hidden), targets, reduction="sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = negative_log_likelihood(output, hidden, targets)
    torch.testing.assert_close(rough, exact, rtol=0.002, atol=0)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (exact, rough))
    for expected, found in zip(*gradients, strict=True):
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("device", DEVICES[1:])
def test_another_device_gives_the_same_and_may_ignore_words(device):
    torch.manual_seed(0)
    output, hidden = nn.Linear(6, 9), torch.randn(7, 6)
    expected = functional.cross_entropy(output(hidden), TARGETS, reduction="sum").detach()
    more = torch.cat([hidden, torch.randn(2, 6)]).to(device)
    targets = torch.cat([TARGETS, torch.full((2,), IGNORED)]).to(device)
    found = negative_log_likelihood(output.to(device), more, targets)
    torch.testing.assert_close(found.cpu(), expected)
