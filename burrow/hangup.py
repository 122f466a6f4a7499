"""SIGHUP: a terminal sends it when it is closed; people send it so that a program reads its file again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


def on_hangup(reactor: Any, act: Callable[[], None], *, also_ignored: bool = False) -> None:
    """
    Call C{act} in the reactor's thread at each SIGHUP, on systems that have it.

    @param also_ignored: whether to do so even if the process was started with SIGHUP ignored, as by nohup(1);
        by default it stays ignored.
    """
    number = getattr(signal, "SIGHUP", None)
    if number is not None and (also_ignored or signal.getsignal(number) is not signal.SIG_IGN):
        signal.signal(number, lambda *arguments: reactor.callFromThread(act))


def stop_on_hangup(reactor: Any) -> None:
    """Handle SIGHUP as SIGTERM: end in order."""
    on_hangup(reactor, lambda: signal.raise_signal(signal.SIGTERM))
