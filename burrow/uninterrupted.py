"""Signals that ask a process to stop, put off while somebody else's code would swallow what they raise."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from burrow.stopping import NAMES


@contextmanager
def uninterrupted() -> Iterator[None]:
    """
    Run a block in which the handlers of the signals in L{NAMES} are not called. Those of signals that came
    are called behind it, each once; so Ctrl-C raises KeyboardInterrupt there. For what takes a moment.

    Handlers run in the main thread alone, so in others this does nothing. A signal whose handler is the
    system's (the process ends at once, or it is ignored) is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: dict[int, Any] = {}
    handlers: dict[int, Any] = {}
    with ExitStack() as behind:
        try:
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if callable(handler := signal.getsignal(number)):
                    handlers[number] = handler
                    signal.signal(number, came.__setitem__)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for number, frame in came.items():
                behind.callback(handlers[number], number, frame)
