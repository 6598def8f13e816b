"""The socket that the server listens at."""

import errno
import socket

from mrnn.errors import OptionsError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OptionsError for an address that cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise OptionsError(f"--host {host!r:.80}: no address of this computer") from None
    # asyncio sends small answers at once only where a socket names its protocol
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            line = f"--port {port} is in use; stop what uses it, or give another, or 0 for any"
        elif error.errno == errno.EACCES:
            line = f"--port {port} is reserved by the system; give one above 1023"
        else:
            line = f"--host {host!r:.80}: cannot listen there ({error.strerror})"
        raise OptionsError(line) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser on this computer finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # all addresses  # noqa: S104
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
