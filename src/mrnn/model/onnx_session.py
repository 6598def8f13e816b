"""An ONNX graph, opened for inference."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from mrnn.errors import CheckpointError, OptionsError
from mrnn.model.devices import find_device, providers_of


class Session:
    """A graph that takes arrays by name and gives its outputs in order."""

    def __init__(self, session: onnxruntime.InferenceSession, file: Path, mend: str) -> None:
        self._session, self._file, self._mend = session, file, mend

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """Type and shape of each input."""
        return {each.name: (each.type, each.shape) for each in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """Type and shape of each output."""
        return {each.name: (each.type, each.shape) for each in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs. Raises CheckpointError for a graph that cannot be run."""
        try:
            outputs: list[np.ndarray] = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime's errors have no common class
            raise CheckpointError(
                f"{self._file} cannot be run ({_reason(error)}); {self._mend}"
            ) from error
        return outputs


def open_session(
    file: Path,
    mend: str,
    *,
    convolutional: bool = False,
    device: str = "cpu",
    threads: int = 1,
    contents: Mapping[str, bytes] | None = None,
) -> Session:
    """Raises CheckpointError, which ends with `mend`, for a file that is missing or no graph.

    Raises OptionsError for a device, see `mrnn.model.devices`, that is not there or does not start.
    With `contents`, of the file and of those that it refers to by name, nothing is read.
    """
    if contents is None and not file.is_file():
        what = "is no file, but a folder or a device" if file.exists() else "is missing"
        raise CheckpointError(f"{file} {what}; {mend}")
    device = find_device(device)
    providers = providers_of(device)
    options = _options(threads, convolutional=convolutional)
    graph: str | bytes = str(file)
    if contents is not None:
        graph = contents[file.name]
        others = {name: content for name, content in contents.items() if name != file.name}
        options.add_external_initializers_from_files_in_memory(
            list(others), list(others.values()), list(map(len, others.values()))
        )
    try:
        with warnings.catch_warnings():  # of a device that does not start; told below
            warnings.simplefilter("ignore")
            session = onnxruntime.InferenceSession(
                graph, options, providers=providers, enable_fallback=0
            )
    except Exception as error:  # onnxruntime's errors have no common class
        raise CheckpointError(
            f"{file} is no graph that can be run ({_reason(error)}); {mend}"
        ) from error
    if session.get_providers()[0] != providers[0]:
        raise OptionsError(
            f"--device {device}: onnxruntime is built for it, but cannot use it here; install its "
            "driver and libraries, or give --device cpu"
        )
    return Session(session, file, mend)


def _options(threads: int, *, convolutional: bool) -> onnxruntime.SessionOptions:
    """How a graph is run.

    A convolutional graph gets the layout of weights that makes convolutions fast, which others
    would only wait for; and its runs are long, so that it need not keep their large buffers.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Threads that wait for work by spinning take the processor from the graph that runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = not convolutional
    options.enable_mem_pattern = False  # one is kept for each number of rows that ever came
    if not convolutional:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return options


def _reason(error: Exception) -> str:
    """What onnxruntime says, without the places in its code."""
    text = " ".join(str(error)[:4000].split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    text = re.sub(r"^Load model from .* failed: ?", "", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)(?: const)? (?=[A-Z])", "", text)
    return text[:120]
