"""Makes the two twistd commands behave as C{burrow}: signals, exit codes, errors in one line."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.allocator import keep_freed_memory, look_for_cycles_less_often
from burrow.descriptors import low_warning, raise_limit
from burrow.errors import BurrowError
from burrow.stopping import StopSignals

_log = Logger()
_code = 0


def prepare_process() -> None:
    """
    Do for the process what `burrow` does: keep freed memory, look for cycles less often, and raise the limit
    of files and connections as far as the system allows; warn if it stays low.
    """
    keep_freed_memory()
    look_for_cycles_less_often()
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


class Stoppable(Service):
    """
    Runs C{inner} as a service of twistd. The first SIGTERM or SIGINT stops the reactor, and so the service;
    the second cancels what the service still waits for.

    Make it before the reactor runs.

    @param inner: its C{stopService} returns a Deferred that can be cancelled.
    """

    def __init__(self, reactor: Any, inner: Any) -> None:
        self._reactor = reactor
        self._inner = inner
        self._stopped: Deferred[Any] | None = None
        signals = StopSignals(reactor, self._stop, self._stop_now)
        reactor.callWhenRunning(signals.install)

    def startService(self) -> None:
        """Start the inner service."""
        super().startService()
        self._inner.startService()

    def stopService(self) -> Deferred[Any]:
        """Stop the inner service. @return: fires when it has stopped."""
        super().stopService()
        self._stopped = self._inner.stopService()
        return self._stopped

    def _stop(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            self._stop_now()

    def _stop_now(self) -> None:
        if self._stopped is not None:
            self._stopped.cancel()


@atexit.register
def _exit() -> None:
    """End with our exit code. twistd cannot set one: its runner returns, and the program ends with 0."""
    if _code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_code)
