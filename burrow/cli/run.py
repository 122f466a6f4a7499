"""Runs the reactor for a command, and makes an exit code of how it ended."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import (
    FilteringLogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
    formatTime,
    globalLogBeginner,
)
from twisted.python.failure import Failure

from burrow.allocator import keep_freed_memory, look_for_cycles_less_often
from burrow.cli.line_writer import LineWriter
from burrow.clock import measure_by_ticks
from burrow.descriptors import low_warning, raise_limit
from burrow.errors import BurrowError
from burrow.reactor import install
from burrow.shown import escaped
from burrow.stopping import StopSignals
from burrow.wording import iso

_log = Logger()

before_the_end: list[Callable[[], object]] = []
"""Each is called before L{end_at_once} ends the process, which leaves everything else as it is."""

NOW_WITHIN = 2.0
"""Seconds after the second signal to stop until the process ends, in which connections are closed."""


MAX_WAITING = 8 * 1024 * 1024
"""Characters of a log with requests that wait for standard error, or are being written, at most."""


def _ours(event: LogEvent) -> Any:
    """A filter: of events below warnings only those of Burrow, since Twisted's tell its users nothing."""
    namespace = str(event.get("log_namespace", ""))
    if namespace.startswith("burrow") or event.get("log_level", LogLevel.info) >= LogLevel.warn:
        return PredicateResult.maybe
    return PredicateResult.no


def _line(event: LogEvent) -> str:
    text = escaped(formatEvent(event))
    failure = event.get("log_failure")
    if failure is not None:
        # Indented, so that no line of an exception's text looks like one of the log's.
        text += "".join(f"\n    {escaped(line)}" for line in failure.getTraceback().split("\n"))
    level = event.get("log_level", LogLevel.info).name
    return f"{formatTime(event.get('log_time'), '%Y-%m-%dT%H:%M:%S%z')} {level:<5} {text}"


def _json_line(event: LogEvent) -> str:
    fields = {
        "time": iso(event.get("log_time") or 0.0),
        "level": event.get("log_level", LogLevel.info).name,
        "event": "log",
        "component": event.get("log_namespace", ""),
        "text": formatEvent(event),
    }
    failure = event.get("log_failure")
    if failure is not None:
        fields["traceback"] = failure.getTraceback()
    return json.dumps(fields)


def _missing(count: int) -> str:
    return f"{count} lines are missing here: the log was not read fast enough"


def _json_missing(count: int) -> str:
    text = _missing(count)
    return json.dumps({"time": iso(time.time()), "level": "warn", "event": "log", "text": text})


def start_logging(level: str, form: str = "") -> None:
    """
    Log to standard error, one line an event, from C{level} on.

    @param form: "json", or another for lines for people. An event with C{lines} has its own, in that form.
    """
    levels = LogLevelFilterPredicate(LogLevel.levelWithName(level))
    line = _json_line if form == "json" else _line
    # With a form, each request has a line: a reader that is slow must not stop the reactor.
    missing = _json_missing if form == "json" else _missing
    put = LineWriter(2, MAX_WAITING, missing).put if form else _put

    def write(event: LogEvent) -> None:
        lines = event.get("lines")
        put(line(event) if lines is None else "\n".join(lines))

    observer = FilteringLogObserver(cast(Any, write), [cast(Any, _ours), levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


def _put(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # standard error is closed
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def complain(error: BaseException | str) -> None:
    """Tell a person on standard error what went wrong."""
    with contextlib.suppress(OSError, ValueError):  # standard error is closed
        print(f"burrow: {escaped(str(error))}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """
    Show a line on standard output. If that cannot be written (a pipe whose reader has left, a full disk),
    tell it once on standard error; later lines are dropped.
    """
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        print(text.encode("utf-8", "backslashreplace").decode(), flush=True)
    except OSError as error:
        if stdout_is_broken():
            complain(f"cannot write to standard output: {error.strerror}; going on")


def stdout_is_broken(met: OSError | None = None) -> bool:
    """
    Whether standard output cannot be written. If so, it is replaced by the null device, or Python would fail
    with the same error again when it ends.

    @param met: an error that somebody else met there.
    """
    try:
        if met is not None:
            raise met
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False


def open_standard_files() -> None:
    """
    Open closed standard files on the null device: else a socket could get their numbers. Give standard output
    a buffer if it has none (PYTHONUNBUFFERED): L{stdout_is_broken} flushes it to see if it can be written.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    out = sys.stdout
    if isinstance(getattr(out, "buffer", None), io.RawIOBase):
        sys.stdout = open(1, "w", 1, encoding=out.encoding, errors=out.errors, closefd=False)  # noqa: SIM115


def run(
    main: Callable[[Any], Coroutine[Any, Any, None]],
    *,
    log_level: str,
    log_format: str = "",
    worker: bool = False,
    brief: bool = False,
) -> int:
    """
    Run the reactor until C{main(reactor)} is done, or fails with an error. The first signal that asks to stop
    cancels it. The second cancels it again, in what it does to stop, and ends the process within
    L{NOW_WITHIN} seconds.

    @param log_format: see L{start_logging}. @param worker: see L{StopSignals}.
    @param brief: whether the command ends by itself: then it does not warn of a low limit of descriptors.
    @return: the exit code: 0, or the error's.
    """
    install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    measure_by_ticks(reactor)
    start_logging(log_level, log_format)
    keep_freed_memory()
    if not brief:
        look_for_cycles_less_often()
    raise_limit()
    warning = "" if worker or brief else low_warning()
    if warning:
        _log.warn("{text}", text=warning)
    code = 0
    running: Deferred[None] | None = None

    def ended(result: Any) -> None:
        nonlocal code, running
        running = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            if isinstance(result.value, BurrowError):
                if not result.value.told:
                    complain(result.value)
                code = result.value.exit_code
            else:
                complain(f"unexpected: {result.getTraceback()}")
                code = 1
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    def start() -> None:
        nonlocal running
        signals.install()
        running = Deferred.fromCoroutine(main(reactor))
        running.addBoth(ended)

    def cancel() -> None:
        if running is not None:
            running.cancel()

    def now() -> None:
        reactor.callLater(NOW_WITHIN, end_at_once, lambda: code)
        cancel()

    signals = StopSignals(reactor, cancel, now, worker=worker)
    reactor.callWhenRunning(start)
    reactor.run()
    return code


def end_at_once(code: Callable[[], int]) -> None:
    """End this process now, with C{code()}: it was asked to stop twice."""
    for act in before_the_end:
        act()
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            file.flush()
    os._exit(code())
