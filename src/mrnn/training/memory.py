"""What a network takes to train, compared with what there is, before any of it is taken."""

import os
from pathlib import Path

import torch

from mrnn.errors import OptionsError
from mrnn.model.config import ModelConfig
from mrnn.training.network import network_of

COPIES = 6
"""Of each weight: itself, its gradient, two moments of Adam, the average, and one to be saved."""
SIZES = ("embedding_size", "recurrent_size", "multimodal_size")
CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
"""The limit of a container, on Linux."""


def check_memory(config: ModelConfig, available: int) -> None:
    """Raises OptionsError for a network that does not fit into so many bytes."""
    needed = bytes_to_train(config)
    if needed is not None and needed <= available:
        return
    most = "more than a million TB" if needed is None else f"{needed / 1e9:,.0f} GB"
    key = max(SIZES, key=lambda name: getattr(config, name))
    raise OptionsError(
        f"model: training this network takes {most} of memory, and there are "
        f"{available / 1e9:,.0f} GB; lower model.{key}, which is {getattr(config, key):,}"
    )


def bytes_to_train(config: ModelConfig) -> int | None:
    """What the weights and all that goes with them take; None for more than can be counted."""
    try:
        with torch.device("meta"):  # on which tensors have shapes, and no values
            network = network_of(config)
        weights = sum(parameter.numel() for parameter in network.parameters())
    except (RuntimeError, TypeError, OverflowError):  # a size beyond 64 bits
        return None
    return COPIES * 4 * weights if weights > 0 else None


def available_memory(device: torch.device) -> int:
    """Bytes of a graphics processor, or of this computer or container, those in use included."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if not hasattr(os, "sysconf"):
        return 2**63
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(there, int(CONTROL_GROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return there
