"""Weights of pretrained networks: read from a file, or downloaded; never unpickled as code."""

import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mrnn.errors import CheckpointError

OPTIONAL = "num_batches_tracked"  # of batch norms; counts training steps, decides nothing here


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors, as float32, of a state dict in a .safetensors or a PyTorch file."""
    if file.exists() and not file.is_file():
        raise CheckpointError(f"{file}: a folder or a device, not a file; check --weights")
    try:
        content = _load(file)
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}; check --weights") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file}: not a file of weights, or one that holds more than tensors, which is never "
            "run; save the state dict alone, as .safetensors or by torch.save"
        ) from None
    except Exception as error:  # a damaged pickle raises any of a dozen kinds
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{file}: damaged, or no file of weights ({line:.100})") from None
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not (isinstance(content, dict) and all(isinstance(t, Tensor) for t in content.values())):
        raise CheckpointError(f"{file}: not a state dict; save model.state_dict() into it")
    if odd := [name for name, tensor in content.items() if not _is_plain(tensor)]:
        kind = content[odd[0]].dtype
        raise CheckpointError(f"{file}: {odd[0]!s:.60} holds {kind}; save real numbers")
    return {str(name): tensor.float().contiguous() for name, tensor in content.items()}


def _load(file: Path) -> Any:  # noqa: ANN401 (whatever the file holds)
    if file.suffix == ".safetensors":
        return load_file(file)
    with warnings.catch_warnings():  # of old forms of pickles
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_plain(tensor: Tensor) -> bool:
    """Whether it holds real numbers, each in a place of its own."""
    return not (tensor.is_complex() or tensor.is_sparse or tensor.is_quantized or tensor.is_meta)


def download_weights(name: str, url: str | None, file_name: str) -> Path:
    """The weights of the encoder `name`: those in PyTorch's cache, downloaded if need be."""
    if url is None:
        raise CheckpointError(
            f"There are no weights of {name} to download; give a file of them with --weights FILE"
        )
    file = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if file.exists():
        return file
    found = re.search(r"-([0-9a-f]{8,})\.", file_name)  # as PyTorch names files by their hash
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        shown = sys.stderr.isatty()
        torch.hub.download_url_to_file(url, str(file), found and found[1], progress=shown)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip("<>").splitlines()[0]
        raise CheckpointError(
            f"The weights of {name} cannot be downloaded ({reason}). Get {url} where there is a "
            f"network, and give the file by --weights, as in: mrnn export-encoder {name} --out "
            f"FILE.onnx --weights {file_name}"
        ) from None
    return file


def fill(network: nn.Module, tensors: dict[str, Tensor], head: frozenset[str], file: Path) -> None:
    """Put the tensors into a network, but for those of the `head`, which it has lost.

    Raises CheckpointError if the file is of another network: if a tensor is missing, unknown or
    misshapen.
    """
    wanted = network.state_dict()
    given = {name: t for name, t in tensors.items() if name not in head}
    for name in wanted.keys() - given.keys():
        if name.endswith(OPTIONAL):
            given[name] = torch.zeros(())
    what = f"{file} does not hold the weights of this network"
    if missing := [name for name in wanted if name not in given]:
        raise CheckpointError(f"{what}: it lacks {missing[0]} and {len(missing) - 1} more")
    if unknown := [name for name in given if name not in wanted]:
        raise CheckpointError(f"{what}: {unknown[0]} is none of its tensors")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise CheckpointError(f"{what}: {name} has shape {shapes}")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{file}: {name} holds values that are not finite")
    network.load_state_dict(given, assign=True)
