import sys
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file
from torch import library


@pytest.fixture(scope="session")
def torchvision():
    """torchvision, also where PyPI's, built for CUDA, lies beside a torch without it.

    There its compiled operators do not load. None is needed here: two need a signature.
    """
    if find_spec("timm") is None or find_spec("torchvision") is None:
        pytest.skip("needs the extra `vision`")
    try:
        yield import_module("torchvision")
    except RuntimeError:
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]  # half imported
        operators = library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            operators.define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        yield import_module("torchvision")


@pytest.fixture(scope="session")
def small(torchvision, tmp_path_factory):
    """timm's network for tests, with its weights in a file."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet").eval()
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(network.state_dict(), file)
    return network, file
