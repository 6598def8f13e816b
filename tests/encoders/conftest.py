import sys
from importlib import import_module

import pytest
import torch


@pytest.fixture(scope="session")
def torchvision():
    """The library, also where PyPI's build for CUDA lies beside a torch without it.

    There its compiled operators do not load, and its import stops at the first that it describes.
    No test needs them: it is enough that these two have a signature. A user is told to install both
    from one index; the tests of the networks must run all the same.
    """
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    module = import_module("torchvision")
    module.operators = library  # they last as long as this does
    return module
