"""Around the application: access, security headers, errors as problems, unread bodies."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrnn.server.access import COOKIE, HEADERS, Access, token_in
from mrnn.server.metrics import Metrics
from mrnn.server.problems import Problem, problem_response

LINGER_SECONDS = 3.0
"""How long the rest of a body is read that nobody wants, so that the client sees the answer."""


class Guard:
    """An ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        metrics: Metrics,
        login: Callable[[], Response],
        tell: Callable[[str], None],
    ) -> None:
        """`login` answers who opens the page without the token; `tell` gets lines for the log."""
        self._app, self._access, self._metrics = app, access, metrics
        self._login, self._tell = login, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        start = time.perf_counter()
        self._metrics.active += 1
        try:
            await self._answer(scope, exchange)
        except Exception as error:  # it was answered
            name, request = type(error).__name__, f"{scope['method']} {scope['path']!r:.80}"
            self._tell(f"mrnn: {request}: {name}: {error!s:.150}")
        finally:
            self._metrics.active -= 1
            seconds = time.perf_counter() - start
            self._metrics.count_request(scope, exchange.status, seconds)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        app: ASGIApp = self._app
        try:
            self._access.check(scope)
        except Problem as problem:
            app = problem_response(problem)
            if problem.status == HTTPStatus.UNAUTHORIZED and scope["path"] == "/":
                app = self._log_in(scope)
        await app(scope, exchange.receive, exchange.send)

    def _log_in(self, scope: Scope) -> Response:
        """The page's cookie for the right token in its address; else the form that asks for it."""
        if not self._access.is_token(token_in(scope)):
            return self._login()
        response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        response.set_cookie(COOKIE, token_in(scope), httponly=True, samesite="strict")
        return response


class _Exchange:
    """A request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = dict(scope["headers"])
        self._has_body = b"content-length" in headers or b"transfer-encoding" in headers
        self._waits = headers.get(b"expect", b"").lower() == b"100-continue"
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._waits = False
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self._has_body = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *HEADERS]
            names = {name.lower() for name, _ in headers}
            if b"cache-control" not in names:
                headers.append((b"cache-control", b"no-store"))
            if self._has_body:
                await self._linger()
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def _linger(self) -> None:
        """Read on for a while: a client that is sending would not read the answer."""
        if self._waits:  # for leave to send, which it does not get
            return
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._has_body:
                    await self.receive()
        except TimeoutError:
            pass
