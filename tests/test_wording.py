"""Tests for L{burrow.wording}."""

import errno
import socket
import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError, ConnectError

from burrow.wording import listed, shown, system_words, toml


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
        ({"a b": 1}, '{ "a b" = 1 }'),
        ("ü\x7f\u2028\U000e0001", '"ü\\u007f\\u2028\\U000e0001"'),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_values_as_toml_has_them(value, text):
    assert shown(value) == text


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.recursive(
    _TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
)


@given(_VALUES)
def test_what_is_written_as_toml_is_read_as_it_was(value):
    text = toml(value)
    assert text.isprintable()
    assert tomllib.loads(f"one = {text}") == {"one": value}


def test_listed():
    assert listed(["a"], "or") == "a"
    assert listed(["a", "b"], "or") == "a or b"
    assert listed(["a", "b", "c"], "and") == "a, b and c"
