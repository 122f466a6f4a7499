"""What rules may use beside the request itself, passed in by the server. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred

InThread = Callable[..., "Deferred[Any]"]
"""Calls a function with arguments outside of the reactor's thread; fails with L{Busy} if too many wait."""

Fetch = Callable[[str, "Mapping[str, str] | None", "Mapping[str, str] | None"], "Deferred[Any]"]
"""
Asks a URL for JSON: by POST of a form's fields, if there are any, and with header fields. Fires with the
parsed JSON; fails with L{FetchFailed}.
"""


class Busy(Exception):
    """As much work waits as may."""


class FetchFailed(Exception):
    """A URL gave no JSON. The text says why, for the log."""


def _no_fetch(url: str, form: Mapping[str, str] | None, fields: Mapping[str, str] | None) -> Deferred[Any]:
    return fail(FetchFailed("nothing is fetched here"))


@dataclass(frozen=True, slots=True)
class Means:
    """
    @ivar now: the time in seconds since the epoch. @ivar in_thread: see L{InThread}. @ivar fetch: see
        L{Fetch}.
    """

    now: Callable[[], float] = time.time
    in_thread: InThread = maybeDeferred
    fetch: Fetch = _no_fetch
