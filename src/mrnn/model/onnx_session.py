"""An ONNX graph, opened for inference on the processor."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from mrnn.errors import CheckpointError


class Session:
    """A graph that takes arrays by name and gives its outputs in order."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

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
        """The outputs."""
        outputs: list[np.ndarray] = self._session.run(None, dict(inputs))
        return outputs


def open_session(file: Path, mend: str, *, convolutional: bool = False) -> Session:
    """Raises CheckpointError, which ends with `mend`, for a file that is missing or no graph.

    A convolutional graph gets the layout of weights that makes convolutions fast, which others
    would only wait for; and its runs are long, so that it need not keep their large buffers.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; {mend}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.log_severity_level = 4
    # Threads that wait for work by spinning take the processor from the graph that runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = not convolutional
    options.enable_mem_pattern = False  # one is kept for each number of rows that ever came
    if not convolutional:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common class
        line = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{file} is no graph that can be run ({line}); {mend}") from error
    return Session(session)


def thread_count() -> int:
    """OMP_NUM_THREADS, or else the processors that the process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
