"""What systemd is told of the state of the service: sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(state: str) -> None:
    """
    Tell systemd a state, as in C{READY=1}, if it started this process as a service of C{Type=notify} or
    C{notify-reload}. A state that it does not take is lost.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):
        return
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)
