"""Makes the two twistd commands behave as C{burrow}: signals, exit codes, errors in one line."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.descriptors import low_warning, raise_limit
from burrow.errors import BurrowError
from burrow.stopping import StopSignals

_log = Logger()
_code = 0


def allow_files() -> None:
    """Raise the limit of files and connections as far as the system allows; warn if it stays low."""
    raise_limit()
    warning = low_warning()
    if warning:
        _log.warn("{text}", text=warning)


def refuse(error: BurrowError) -> SystemExit:
    """Print an error of the configuration. @return: what to raise then, before the reactor runs."""
    print(f"burrow: {error}", file=sys.stderr, flush=True)
    return SystemExit(error.exit_code)


def end_by(reactor: Any, reason: Failure) -> None:
    """An errback for a fatal error: stop the reactor, and end with the error's exit code."""
    global _code
    known = isinstance(reason.value, BurrowError)
    _code = reason.value.exit_code if isinstance(reason.value, BurrowError) else 1
    if known:
        _log.critical("{error}", error=reason.getErrorMessage())
    else:
        _log.failure("stopping: an unexpected error occurred", reason)
    try:
        reactor.stop()
    except ReactorNotRunning:
        reactor.callWhenRunning(reactor.stop)


def take_signals(reactor: Any, service: Any) -> None:
    """
    Let the first SIGTERM or SIGINT stop the reactor and C{service}, and the second cancel what the service
    still waits for. Call this before the reactor runs.
    """
    stopping: list[Deferred[Any]] = []
    stop_service: Callable[[], Deferred[Any]] = service.stopService

    def remembered() -> Deferred[Any]:
        stopped = stop_service()
        stopping.append(stopped)
        return stopped

    service.stopService = remembered

    def now() -> None:
        for stopped in stopping:
            stopped.cancel()

    def stop() -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            now()

    reactor.callWhenRunning(StopSignals(reactor, stop, now).install)


@atexit.register
def _exit() -> None:
    """End with our exit code. twistd cannot set one: its runner returns, and the program ends with 0."""
    if _code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_code)
