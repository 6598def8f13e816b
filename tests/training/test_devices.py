import numpy as np
import pytest
import torch

from mrnn.errors import OptionsError
from mrnn.training.devices import (
    available_devices,
    describe,
    describe_all,
    find_device,
    has_fused_optimizer,
    move,
    rng_state,
    set_rng_state,
)

DEVICES = available_devices()


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_that_is_there(monkeypatch, cuda, mps, best):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert find_device("auto") == torch.device(best)
    assert find_device("cpu") == torch.device("cpu")
    for name, there in (("cuda", cuda), ("mps", mps)):
        if there:
            assert find_device(name) == torch.device(name)
        else:
            with pytest.raises(OptionsError, match=rf"^--device {name}: PyTorch finds no such dev"):
                find_device(name)


@pytest.mark.parametrize("name", DEVICES)
def test_random_numbers_come_again(name):
    device = find_device(name)
    state = rng_state(device)
    assert state.device.type == "cpu"
    first = torch.rand(3, device=device)
    set_rng_state(device, state)
    assert torch.equal(torch.rand(3, device=device), first)


@pytest.mark.parametrize("name", DEVICES)
def test_a_tensor_is_moved(name):
    device = find_device(name)
    moved = move(torch.arange(3), device)
    assert moved.device.type == name
    assert moved.tolist() == [0, 1, 2]
    assert describe(device).startswith(name)
    weight = torch.nn.Parameter(torch.ones(2, device=device))
    torch.optim.AdamW([weight], fused=has_fused_optimizer(device)).zero_grad()
    np.testing.assert_array_equal(weight.detach().cpu(), 1)


def test_all_devices_are_told():
    told = describe_all()
    assert told.startswith("cpu")
    assert told.endswith(f"; {torch.get_num_threads()} threads")
