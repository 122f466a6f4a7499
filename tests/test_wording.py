"""Tests for L{burrow.wording}."""

import errno
import socket
from datetime import date

import pytest
from twisted.internet.error import CannotListenError, ConnectError

from burrow.wording import listed, shown, system_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (OSError("two words"), "two words"),
        (TimeoutError(), "it took too long"),
        (ConnectError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (ConnectError("No such thing."), "no such thing"),
        (CannotListenError("127.0.0.1", 80, OSError(errno.EACCES, "Permission denied")), "permission denied"),
        (OSError(errno.EIO, "I/O error"), "I/O error"),
        (OSError("TLS failed"), "TLS failed"),
    ],
)
def test_words_of_the_system(error, words):
    assert system_words(error) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", '"a\\nb"'),
        (True, "true"),
        (["a", 1], '["a", 1]'),
        ({"path": "/a", "respond": [True]}, '{ path = "/a", respond = [true] }'),
        ({}, "{}"),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_values_as_toml_has_them(value, text):
    assert shown(value) == text


def test_listed():
    assert listed(["a"], "or") == "a"
    assert listed(["a", "b"], "or") == "a or b"
    assert listed(["a", "b", "c"], "and") == "a, b and c"
