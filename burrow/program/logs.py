"""What Burrow logs inside a program goes to the program's own log: Python's C{logging}."""

from __future__ import annotations

import logging
import sys
from typing import cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner

from burrow.shown import escaped

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_begun = False


def log_by_logging() -> None:
    """
    Begin, unless the program uses Twisted itself, whose log is the program's to begin then. Until a log is
    begun, Twisted keeps up to 65,536 events.
    """
    global _begun
    if not _begun and "twisted.internet.reactor" not in sys.modules:
        _begun = True
        globalLogBeginner.beginLoggingTo(
            [cast(ILogObserver, _tell)], redirectStandardIO=False, discardBuffer=True
        )


def _tell(event: LogEvent) -> None:
    """One event: those of Burrow, and warnings of others."""
    namespace = str(event.get("log_namespace", ""))
    level = event.get("log_level", LogLevel.info)
    if not namespace.startswith("burrow") and level < LogLevel.warn:
        return
    failure = event.get("log_failure")
    error = None
    if failure is not None and failure.value is not None:
        error = (type(failure.value), failure.value, failure.getTracebackObject())
    logger = logging.getLogger(namespace or "burrow")
    logger.log(_LEVELS.get(level.name, logging.CRITICAL), "%s", escaped(formatEvent(event)), exc_info=error)
