"""Where ONNX Runtime runs a model's graphs: its execution providers."""

import onnxruntime

from mrnn.errors import OptionsError

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""By the names of devices, the best first."""
MENDS = {
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "directml": "pip uninstall onnxruntime, then pip install onnxruntime-directml",
    "coreml": "it comes with onnxruntime for macOS",
}


def available_devices() -> list[str]:
    """Names of the devices that this onnxruntime was built for, the best first; cpu is the last."""
    there = onnxruntime.get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in there]


def find_device(name: str) -> str:
    """The device of a name; auto is the best one. Raises OptionsError where it is not there."""
    there = available_devices()
    if name == "auto":
        return there[0]
    if name in there:
        return name
    mend = f"; for {name}: {MENDS[name]}" if name in MENDS else ""
    raise OptionsError(
        f"--device {name}: this onnxruntime has {', '.join(there)}{mend}; auto takes the best"
    )


def providers_of(device: str) -> list[str]:
    """The execution provider of a device; the processor runs what it cannot."""
    return list(dict.fromkeys((PROVIDERS[device], PROVIDERS["cpu"])))
