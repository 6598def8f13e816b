"""Who may use the server: Host, Origin and token are checked, and answers are for this page alone.

A foreign page cannot use it: browsers say where a request comes from (Origin, Sec-Fetch-Site), and
a host name that leads here by a trick (DNS rebinding) is not one of ours.
"""

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import Scope

from mrnn.server.problems import Problem

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
PAGES = ("/", "/docs")
"""What people open; a link from elsewhere may lead there."""
COOKIE = "mrnn-token"
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
        "img-src 'self' blob: data:", "manifest-src 'self'", "base-uri 'none'",
        "form-action 'self'", "frame-ancestors 'none'",
    )
)  # fmt: skip
"""Content-Security-Policy: nothing comes from elsewhere, and no script or style stands inline."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True)
class Access:
    """Which requests are answered."""

    hosts: frozenset[str] = LOCAL
    """Names of this server in the Host header."""
    any_address: bool = False
    """Whether Host may be any IP address too, which no trick can lead elsewhere."""
    token: str | None = None
    """What every request must show; None asks for none."""

    @classmethod
    def at(cls, host: str, token: str | None, names: Iterable[str] = ()) -> "Access":
        """For a server that listens at an address, and has further names."""
        if is_loopback(host):
            return cls(LOCAL | {host.lower(), *map(str.lower, names)}, token=token)
        own = socket.gethostname().lower()
        hosts = LOCAL | {host.lower(), own, f"{own}.local", *map(str.lower, names)}
        return cls(hosts, any_address=True, token=token)

    def check(self, scope: Scope) -> None:
        """Raises Problem: 403 for another host or page, 401 without the token."""
        headers = Headers(scope=scope)
        self._check_host(headers.getlist("host"))
        _check_origin(headers, scope)
        if self.token and not is_open(scope["path"]) and not self._shows_token(headers):
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "the token is missing or wrong; give the one that mrnn serve printed, as "
                "Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def is_token(self, given: str) -> bool:
        """Whether that is the token; takes the same time for each wrong one."""
        own = (self.token or "").encode()
        return bool(own) and hmac.compare_digest(given.encode("utf-8", "replace"), own)

    def _shows_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self.is_token(cookie.value)

    def _check_host(self, given: list[str]) -> None:
        name = host_of(given[0]) if len(given) == 1 else ""
        if name in self.hosts or (self.any_address and is_address(name)):
            return
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"the host {name!r:.80} is none of this server; if it is yours, start it with "
            "--allow-host NAME",
        )


def _check_origin(headers: Headers, scope: Scope) -> None:
    """Raises Problem for a request that a page from elsewhere makes."""
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None:
        scheme, _, rest = origin.partition("://")
        foreign = scheme not in ("http", "https") or rest.lower() != host.lower()
    else:
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        opened = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if opened and scope["path"] in PAGES:  # by a link
            return
    if foreign:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"this request comes from another page ({origin or 'another site'!s:.80}), and the "
            "server answers its own page alone",
        )


def is_open(path: str) -> bool:
    """Whether a path needs no token: the health check, and what the page itself is made of."""
    return path == "/healthz" or path.endswith((".js", ".css", ".svg"))


def token_in(scope: Scope) -> str:
    """The token in the address of the page, as `mrnn serve` prints it."""
    query = parse_qs(scope["query_string"].decode("ascii", "replace"))
    return str(query.get("token", [""])[0])


def host_of(header: str) -> str:
    """The name or address in a Host header, without its port; "" if it holds none."""
    header = header.strip().lower()
    if header.startswith("["):
        name, end, rest = header[1:].partition("]")
        return str(name) if end and (not rest or rest.startswith(":")) else ""
    return str(header.partition(":")[0].rstrip("."))


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach that address."""
    if host.lower() == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(name: str) -> bool:
    """Whether that is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
