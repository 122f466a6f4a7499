"""Tests for L{burrow.cli.help}: the screen of C{burrow help}."""

import argparse
import shlex

import pytest

from burrow.cli import help as screen
from burrow.cli.main import make_parser
from burrow.protocols.registry import kinds


def commands():
    action = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return set(action.choices)


def test_each_command_is_shown_once():
    shown = [name for names in screen.TASKS.values() for name in names]
    assert sorted([*shown, *kinds()]) == sorted(commands())


@pytest.mark.parametrize("typed", [typed for _, typed in screen.WISHES])
def test_what_it_says_to_type_is_possible(typed):
    words = shlex.split(typed)[1:]
    assert make_parser().read(words).run


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_it_fits_a_terminal_of_eighty_columns(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = make_parser().format_help()
    assert max(map(len, text.split("\n"))) <= max(80, columns)
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("env", "styled"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_bold_where_a_terminal_shows_it(env, styled, monkeypatch):
    monkeypatch.setattr(screen.os, "environ", env)
    monkeypatch.setattr(screen.sys.stdout, "isatty", lambda: True, raising=False)
    assert screen.is_styled() is styled
    monkeypatch.setattr(screen.sys.stdout, "isatty", lambda: False, raising=False)
    assert not screen.is_styled()
