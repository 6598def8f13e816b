"""Serve captions and search by HTTP, with a page for people."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn import __version__
from mrnn.cli.terminal import (
    EncoderFile,
    ModelDevice,
    ModelFolder,
    RunDevice,
    found_device,
    say,
    tell,
)
from mrnn.errors import MissingExtraError, OptionsError

if TYPE_CHECKING:
    from mrnn.captioning.captioner import Captioner


def serve(
    model: ModelFolder = None,
    index: Annotated[
        Path | None, typer.Option(help="An index of photos to search", readable=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 for other computers too")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen at; 0 for any that is free")
    ] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            help="What every request must show; made up where other computers can reach the server"
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name of this server, as behind a proxy; repeatable"),
    ] = None,
    max_upload: Annotated[
        int, typer.Option(metavar="MB", min=1, max=1024, help="The largest photo that is taken")
    ] = 50,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser")] = False,
) -> None:
    """Caption and find photos on a page in the browser, and by an HTTP API.

    It runs on this computer, for this computer alone unless --host says otherwise.
    """
    _needs_server()
    from mrnn.server.listener import listen, url_of

    if token is not None and not (token.isascii() and token.isprintable() and len(token) >= 8):
        raise OptionsError("--token: give 8 printable ASCII characters or more")
    with listen(host, port) as listener, ThreadPoolExecutor(1) as loader:
        loading = loader.submit(_load, model, encoder_file, device)
        # Half a second of imports, while the model is loaded.
        from mrnn.server.access import Access, is_loopback
        from mrnn.server.app import make_app
        from mrnn.server.limits import Limits
        from mrnn.server.run import allow_open_files, make_server
        from mrnn.server.service import Service

        if token is None and not is_loopback(host):
            token = secrets.token_urlsafe(24)
        limits = Limits().with_photos_of(max_upload)
        service = Service(loading.result(), __version__, limits, index=index)
        service.worker.start()
        url = url_of(listener) + (f"?token={token}" if token else "")

        def ready() -> None:
            say(f"Serving at {url}")
            tell("Ctrl-C stops it")
            if browser:
                _open(url)

        allow_open_files()
        app = make_app(service, Access.at(host, token, allow_host or ()), tell)
        make_server(app, ready).run([listener])
        service.stop(30.0)
    tell("Stopped")


def _load(model: Path | None, encoder_file: Path | None, device: RunDevice) -> "Captioner":
    from mrnn.captioning.captioner import Captioner
    from mrnn.model.checkpoint import DEFAULT_MODEL

    run_at = found_device(device)
    return Captioner.load(model or DEFAULT_MODEL, encoder_file=encoder_file, device=run_at)


def _needs_server() -> None:
    """Raises MissingExtraError where the libraries of the server are not installed."""
    if not all(map(find_spec, ("starlette", "uvicorn", "python_multipart", "h11"))):
        raise MissingExtraError(
            "Serving needs Starlette and uvicorn. Run: pip install 'mrnn[serve]'"
        )


def _open(url: str) -> None:
    """On a thread of its own, as some browsers do not return."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
