"""Where a model is trained: on the processor, or on a graphics processor by CUDA or Metal."""

import torch
from torch import Tensor

from mrnn.errors import OptionsError
from mrnn.training.processes import ALONE, Processes

CPU = torch.device("cpu")


def find_device(name: str, processes: Processes = ALONE) -> torch.device:
    """The device of a name; auto is cuda if there, else mps, else cpu.

    Each of several processes has a CUDA device of its own, or all are on the CPU. Raises
    OptionsError where there is none.
    """
    there = available_devices()
    if processes.count > 1:  # NCCL and gloo know no others, and gloo is for the CPU here
        there = [each for each in there if each != "mps"]
    if name == "auto":
        name = there[-1]
    if name not in there:
        raise OptionsError(
            f"--device {name}: PyTorch finds no such device here; give auto, or one of "
            f"{', '.join(there)}"
        )
    if name == "cuda" and processes.count > 1:
        if (count := torch.cuda.device_count()) <= processes.place:
            raise OptionsError(
                f"--device cuda: this computer has {count} CUDA devices, one for a process; start "
                f"no more processes here, or train them with --device cpu"
            )
        torch.cuda.set_device(processes.place)
        return torch.device("cuda", processes.place)
    return torch.device(name)


def available_devices() -> list[str]:
    """Names of the devices that are there, the best one last."""
    found = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return ["cpu", *(name for name, there in found.items() if there)]


def describe(device: torch.device) -> str:
    """For people."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def describe_all() -> str:
    """All devices that are there, and the threads of the processor, for people."""
    there = ", ".join(describe(torch.device(name)) for name in available_devices())
    return f"{there}; {torch.get_num_threads()} threads"


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; for CUDA without waiting for the copy."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def rng_state(device: torch.device) -> Tensor:
    """State of the device's global generator, as uint8 on the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def set_rng_state(device: torch.device, state: Tensor) -> None:
    """Set the device's global generator."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def has_fused_optimizer(device: torch.device) -> bool:
    """Whether every PyTorch that we run on has one kernel for a whole step."""
    return device.type in ("cpu", "cuda")
