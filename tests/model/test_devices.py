import onnxruntime
import pytest

from mrnn.errors import OptionsError
from mrnn.model.devices import PROVIDERS, available_devices, find_device, providers_of

DEVICES = available_devices()


def test_the_processor_is_always_there():
    assert DEVICES[-1] == "cpu"
    assert find_device("cpu") == "cpu"
    assert providers_of("cpu") == ["CPUExecutionProvider"]
    assert providers_of("cuda") == ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("there", "best"),
    [
        (["cpu"], "cpu"), (["cpu", "coreml"], "coreml"), (["coreml", "cuda", "cpu"], "cuda"),
        (["directml", "cpu"], "directml"),
    ],
)  # fmt: skip
def test_auto_is_the_best_that_is_there(monkeypatch, there, best):
    built = [PROVIDERS[name] for name in there] + ["AzureExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    assert find_device("auto") == best
    assert sorted(available_devices()) == sorted(there)


def test_a_device_that_is_not_there_says_what_to_install(monkeypatch):
    built = ["CoreMLExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    mend = "for cuda: pip uninstall onnxruntime, then pip install onnxruntime-gpu; auto takes"
    with pytest.raises(
        OptionsError, match=rf"^--device cuda: this onnxruntime has coreml, cpu; {mend} the best$"
    ):
        find_device("cuda")
    with pytest.raises(
        OptionsError, match=r"^--device tpu: this onnxruntime has coreml, cpu; auto"
    ):
        find_device("tpu")
