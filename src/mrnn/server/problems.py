"""Problem documents: what an answer says that is none.

Source: RFC 9457, "Problem Details for HTTP APIs".
"""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from mrnn.errors import MRNNError, OptionsError

MEDIA_TYPE = "application/problem+json"


class Problem(MRNNError):  # noqa: N818  # as the RFC calls it
    """A request that cannot be answered; its text is the line that the command would print."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        option: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.option, self.headers = status, option, dict(headers or {})


def problem_of(error: MRNNError, status: int = HTTPStatus.UNPROCESSABLE_ENTITY) -> Problem:
    """A user's error as a problem: 400 for options, else `status`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OptionsError):
        status = HTTPStatus.BAD_REQUEST
    return Problem(status, str(error))


def problem_response(problem: Problem) -> Response:
    """The document."""
    content = problem_document(problem.status, str(problem))
    if problem.option:
        content["option"] = problem.option
    return Response(
        json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        problem.status,
        problem.headers,
        MEDIA_TYPE,
    )


def problem_document(status: int, detail: str) -> dict[str, str | int]:
    """The members that every problem has."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
