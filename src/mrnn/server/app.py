"""The application: the API under /v1, its description, and the page."""

from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mrnn.errors import MRNNError
from mrnn.server import metrics
from mrnn.server.access import Access
from mrnn.server.captions import Captions
from mrnn.server.guard import Guard
from mrnn.server.openapi import document
from mrnn.server.photos import Photos
from mrnn.server.problems import Problem, problem_of, problem_response
from mrnn.server.service import Service
from mrnn.server.thumbnails import Thumbnails

PAGE = Path(__file__).with_name("page")
"""The page's files; its backend.js speaks to the API."""


LEFT = 499
"""The status of a request whose client left before the answer."""


def make_app(service: Service, access: Access, tell: Callable[[str], None]) -> ASGIApp:
    """The ASGI application; the service's worker must be started. `tell` gets lines for the log."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def counts(_: Request) -> Response:
        text = service.metrics.text(service.worker.waiting, service.spool.taken)
        return Response(text, media_type=metrics.MEDIA_TYPE)

    async def model(_: Request) -> Response:
        return JSONResponse(await service.model())

    async def openapi(_: Request) -> Response:
        config = service.captioner.checkpoint.config
        return JSONResponse(document(config, service.limits, service.version))

    thumbnails = Thumbnails()
    captions, photos = Captions(service, thumbnails), Photos(service, thumbnails)
    routes = [
        _route("/v1/caption", captions.post, "POST"),
        _route("/v1/thumbnail", captions.thumbnail, "POST"),
        _route("/v1/search", photos.search, "GET"),
        _route("/v1/search", photos.search_by_photo, "POST"),
        _route("/v1/photos/{id}", photos.photo, "GET"),
        _route("/v1/photos/{id}/thumbnail", photos.thumbnail, "GET"),
        _route("/v1/photos/{id}/caption", photos.caption, "GET"),
        _route("/v1/model", model, "GET"),
        _route("/healthz", health, "GET"),
        _route("/metrics", counts, "GET"),
        _route("/openapi.json", openapi, "GET"),
        *_page_routes(),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _http_problem,
            MRNNError: _known_problem,
            ClientDisconnect: _left,
            Exception: _failure,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, access, service.metrics, lambda: _login(PAGE / "login.html"), tell)


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    return Route(path, endpoint, methods=[method])


def _page_routes() -> Iterator[Route]:
    """The files of the page, and no others."""
    for file in sorted(PAGE.iterdir()):
        yield _page_route(f"/{file.name}", file)
    yield _page_route("/", PAGE / "index.html")
    yield _page_route("/docs", PAGE / "docs.html")


def _page_route(path: str, file: Path) -> Route:
    async def answer(_: Request) -> Response:
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    return _route(path, answer, "GET")


def _login(file: Path) -> Response:
    return FileResponse(file, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})


def _known_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, MRNNError)
    return problem_response(problem_of(error))


def _failure(_: Request, error: Exception) -> Response:
    """Of the server itself; the guard writes it to the log."""
    line = f"the server failed ({type(error).__name__}); its log says more"
    return problem_response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, line))


def _left(_: Request, __: Exception) -> Response:
    """For a client that is gone: counted, and not sent."""
    return Response(status_code=LEFT)


def _http_problem(request: Request, error: Exception) -> Response:
    """What Starlette refuses: a path that is not there, another method."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    lines = {
        HTTPStatus.NOT_FOUND: f"{path!r:.80}: there is nothing here; /docs lists what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{path!r:.80} does not take {method:.20}; see /docs",
    }
    status = HTTPStatus(error.status_code)
    detail = lines.get(status, f"{path!r:.80}: {status.phrase}")
    return problem_response(Problem(status, detail, headers=error.headers))
