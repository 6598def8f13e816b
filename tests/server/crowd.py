"""Many clients at once, on plain sockets."""

import asyncio
from collections.abc import Sequence

from mrnn.server.run import allow_open_files


def ask_at_once(
    port: int, bodies: Sequence[bytes], path: str = "/v1/caption"
) -> list[tuple[int, bytes]]:
    """Status and content of the answer to each body, all of them sent at once."""
    allow_open_files()

    async def together() -> list[tuple[int, bytes]]:
        return await asyncio.gather(*(_ask(port, path, body) for body in bodies))

    return asyncio.run(together())


async def _ask(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        answer = await reader.read(-1)
    finally:
        writer.close()
    head_, _, content = answer.partition(b"\r\n\r\n")
    return int(head_.split(b" ")[1]), content
