"""
An ASGI app with an answer of 1 KiB: C{uvicorn bench.app:app} serves it on a port, C{python -m bench.app}
through a tunnel of its own, by L{burrow.serve}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import burrow

_BODY = b"x" * 1024
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(_BODY))],
}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """See the ASGI specification."""
    assert scope["type"] == "http"
    await send(_START)
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    burrow.serve(app, no_inspect=True, ready=lambda tunnel: print(tunnel.url, flush=True))
