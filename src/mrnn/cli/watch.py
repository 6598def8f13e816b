"""Caption the photos that arrive in folders."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mrnn.captioning.options import Asked
from mrnn.cli.caption import ready_captioner
from mrnn.cli.caption_outputs import OutputOptions, Outputs, show, takes_output_flags
from mrnn.cli.decoding_flags import takes_decoding_flags
from mrnn.cli.photo_arguments import Exclude
from mrnn.cli.terminal import (
    ConsensusSource,
    EncoderFile,
    ModelDevice,
    ModelFolder,
    RunDevice,
    progress,
    tell,
)
from mrnn.errors import OptionsError

TICK = 500
"""Milliseconds between two looks at photos that are waited for."""
TOGETHER = 8
"""Photos that are captioned before the next look at whether to stop."""


@takes_decoding_flags
@takes_output_flags
def watch(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help="Folders, watched to the bottom")
    ],
    exclude: Exclude = None,
    model: ModelFolder = None,
    consensus: ConsensusSource = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    *,
    options: OutputOptions,
    asked: Asked,
) -> None:
    """Caption photos as they arrive in folders, after those that are there, until stopped.

    A photo that is being copied is waited for. Ctrl-C or SIGTERM stops.
    """
    from mrnn.data.photos.arrivals import Arrivals
    from mrnn.data.photos.folder import PhotoFolder

    watched = [PhotoFolder(folder, exclude or (), tell) for folder in folders]
    outputs, arrivals = Outputs(options, lambda result: show(result, options)), Arrivals()
    with outputs.alone([]), _told_to_stop() as stop:
        captioner, decoding, reranking = ready_captioner(
            model, consensus, encoder_file, asked, options, device
        )
        outputs.open(decoding.n_best, [folder / "any" for folder in folders])

        def caption(photos: Sequence[Path], advance: Callable[[], None] | None) -> None:
            results = captioner.stream(photos, decoding, reranking, advance)
            for photo, result in zip(photos, results, strict=True):
                if not (result.error and arrivals.wait_longer(photo, time.monotonic())):
                    outputs.take(photo, result)

        for paths in _changes(folders, stop):
            if paths is None:
                arrivals.add((p for each in watched for p in each.photos()), time.monotonic())
                tell(f"Watching {', '.join(map(str, folders))}; stop with Ctrl-C")
            else:
                found = (p for each in watched for p in each.photos_at(paths))
                arrivals.add(found, time.monotonic())
            _caption_all(outputs.left_to_do(arrivals.ready(time.monotonic())), caption, stop)
    outputs.summarize()


def _caption_all(
    photos: Sequence[Path],
    caption: Callable[[Sequence[Path], Callable[[], None] | None], None],
    stop: threading.Event,
) -> None:
    """A few at a time, until told to stop; of many the progress is shown."""
    if len(photos) <= TOGETHER:
        if photos:
            caption(photos, None)
        return
    with progress("Captioning", len(photos)) as advance:
        for start in range(0, len(photos), TOGETHER):
            if stop.is_set():
                return
            caption(photos[start : start + TOGETHER], advance)


def _changes(folders: Sequence[Path], stop: threading.Event) -> Iterator[list[str] | None]:
    """None when the folders are watched, then the paths that changed, if any, at each tick.

    Raises OptionsError where the system cannot watch, or when the last folder is gone.
    """
    from watchfiles import watch as watch_files
    from watchfiles._rust_notify import WatchfilesRustInternalError

    here, started = list(folders), False
    try:
        for changes in watch_files(
            *folders, watch_filter=None, stop_event=stop, debounce=TICK, rust_timeout=TICK,
            yield_on_timeout=True, raise_interrupt=False, ignore_permission_denied=True,
        ):  # fmt: skip
            if not started:
                started = True
                yield None
            yield [path for _, path in changes]
            for folder in [folder for folder in here if not folder.is_dir()]:
                here.remove(folder)
                tell(f"{folder} is gone; start again when it is back")
            if not here:
                raise OptionsError("all folders are gone; start again when they are back")
    except (OSError, WatchfilesRustInternalError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OptionsError(
            f"the system cannot watch these folders ({why}); give fewer, or set "
            "WATCHFILES_FORCE_POLLING=1"
        ) from None


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM; the second Ctrl-C interrupts."""
    stop = threading.Event()
    before: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
