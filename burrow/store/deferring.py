"""The decorator of methods that are written as coroutines and return Deferreds, as L{IStore} asks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

_P = ParamSpec("_P")
_T = TypeVar("_T")


def returns_deferred(method: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Deferred[_T]]:
    """
    Make a coroutine function one that returns a Deferred. A call runs it at once, up to its first wait,
    whether or not the result is awaited.
    """

    @wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        return Deferred.fromCoroutine(method(*args, **kwargs))

    return call
