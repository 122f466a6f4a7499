"""SIGHUP: a terminal sends it when it is closed, a person to have a program read its file again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


def on_hangup(reactor: Any, act: Callable[[], None], *, also_ignored: bool = False) -> None:
    """
    Call C{act} in the reactor at each SIGHUP, on systems that have it.

    @param also_ignored: whether to do so where whoever started us had it ignored, as nohup(1) does; by
        default it stays so.
    """
    number = getattr(signal, "SIGHUP", None)
    if number is not None and (also_ignored or signal.getsignal(number) is not signal.SIG_IGN):
        signal.signal(number, lambda *arguments: reactor.callFromThread(act))


def stop_on_hangup(reactor: Any) -> None:
    """Take SIGHUP as SIGTERM: end with a good-bye."""
    on_hangup(reactor, lambda: signal.raise_signal(signal.SIGTERM))
