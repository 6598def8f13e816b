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
from mrnn.training.processes import Processes

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


def test_each_process_has_a_cuda_device_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    for place in range(2):
        found = find_device("auto", Processes(place + 4, 8, place))
        assert found == torch.device("cuda", place)
    assert chosen == [0, 1]
    with pytest.raises(
        OptionsError, match=r"^--device cuda: this computer has 2 CUDA devices, one"
    ):
        find_device("cuda", Processes(2, 4, 2))
    with pytest.raises(OptionsError, match=r"^--device mps: .* one of cpu, cuda$"):
        find_device("mps", Processes(0, 2))
    assert find_device("cpu", Processes(3, 4, 3)) == torch.device("cpu")


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
