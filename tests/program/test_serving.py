"""Tests for L{burrow.program.serving} and L{burrow.program.wsgi}: what an app is, and its threads."""

import functools
import threading

import pytest

from burrow.errors import ConfigError
from burrow.program.serving import interface_of, name_of
from burrow.program.wsgi import Threads


async def asgi(scope, receive, send):
    """An app."""


def wsgi(environ, start_response):
    """An app."""


class Asgi:
    async def __call__(self, scope, receive, send):
        """An app."""


class Wsgi:
    def __call__(self, environ, start_response):
        """An app."""


@pytest.mark.parametrize("app", [asgi, Asgi(), Asgi().__call__, functools.partial(asgi)])
def test_asgi(app):
    assert interface_of(app) == "asgi"
    assert interface_of(app, "wsgi") == "wsgi"


@pytest.mark.parametrize("app", [wsgi, Wsgi(), functools.partial(wsgi)])
def test_wsgi(app):
    assert interface_of(app) == "wsgi"


def test_what_is_no_app():
    with pytest.raises(ConfigError, match="is no app"):
        interface_of(8000)
    with pytest.raises(ConfigError, match="is not possible"):
        interface_of(wsgi, "cgi")


def test_what_an_app_is_called():
    assert name_of(Asgi()) == f"app:{__name__}.Asgi"
    assert name_of(wsgi) == f"app:{__name__}.wsgi"


def test_threads_are_few_and_end():
    threads, gate, done = Threads(most=2), threading.Event(), threading.Semaphore(0)
    running, most = [], []

    def work():
        running.append(1)
        most.append(len(running))
        gate.wait(30)
        running.pop()
        done.release()

    for _ in range(6):
        threads.run(work)
    gate.set()
    for _ in range(6):
        assert done.acquire(timeout=30)
    assert max(most) <= 2
