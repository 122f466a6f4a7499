"""C{burrow server reload}: the request to the running server."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from burrow.errors import ConfigError, ServerUnreachable
from burrow.supervisor.claim import server_state
from burrow.supervisor.pipe import READY_TIMEOUT

_POLL_EVERY = 0.05


def reload_server(folder: Path) -> None:
    """
    Send SIGHUP to the server that runs with a state folder, and block until it has replaced its workers.

    @raise ConfigError: no server runs with C{folder}, or it could not replace its workers.
    @raise ServerUnreachable: it did not answer in time.
    """
    before = server_state(folder)
    os.kill(before["pid"], signal.SIGHUP)
    deadline = time.monotonic() + READY_TIMEOUT + 10
    while time.monotonic() < deadline:
        now = server_state(folder)
        if now["failed"] > before["failed"]:
            raise ConfigError("nothing was replaced, the server goes on as it was: its log says why")
        if now["reloaded"] > before["reloaded"]:
            return
        time.sleep(_POLL_EVERY)
    raise ServerUnreachable("the server did not say that it was replaced: look at its log")
