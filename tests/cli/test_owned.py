"""Tests for commands that change whose a name is, in a server's store."""

import argparse

import pytest
from twisted.internet.defer import Deferred

from burrow.cli import names
from burrow.cli.names import names_release, names_transfer
from burrow.cli.store import _copy
from burrow.errors import ConfigError
from burrow.store.base import Reservation, Token
from burrow.store.memory import MemoryStore


def done(asked):
    """The result of what needs no reactor."""
    outcome = []
    asking = asked if isinstance(asked, Deferred) else Deferred.fromCoroutine(asked)
    asking.addBoth(outcome.append)
    (result,) = outcome
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def name_of(name, assigned=False, used=None):
    return Reservation(name, "http", "id1", "agent", "http://localhost", None, assigned, 50.0, used)


@pytest.fixture
def store(monkeypatch):
    store = MemoryStore(lambda: 100.0)
    for number in (1, 2, 3):
        done(store.add_token(Token(f"id{number}", f"token{number}", "agent", b"", 1.0)))
    done(store.reserve(name_of("*.blog")))
    monkeypatch.setattr(names, "in_store", lambda arguments: True)
    monkeypatch.setattr(names, "with_store", lambda arguments, work: done(work(store)))
    return store


def owners(store):
    return {one.name: one.token for one in done(store.reservations())}


@pytest.mark.parametrize("command", [names_release, names_transfer])
def test_a_name_that_gets_another_owner_between_look_and_change_stays_his(store, monkeypatch, command):
    look = store.reservation

    def looks(name):
        found = look(name)
        if name == "*.blog":  # after blog itself
            done(store.transfer("blog", "id3"))
        return found

    monkeypatch.setattr(store, "reservation", looks)
    arguments = argparse.Namespace(name="blog", owner="token2", force=True)
    with pytest.raises(ConfigError, match="is its owner's no more: see `burrow names list`"):
        command(arguments)
    assert owners(store) == {"blog": "id3", "*.blog": "id3"}


def test_a_wildcard_that_is_opened_between_look_and_change_goes_with_its_name(store, monkeypatch, capsys):
    done(store.release("blog"))
    done(store.reserve(name_of("blog")))
    look = store.reservation

    def looks(name):
        found = look(name)
        if name == "*.blog":
            done(store.reserve(name_of("*.blog")))
        return found

    monkeypatch.setattr(store, "reservation", looks)
    names_transfer(argparse.Namespace(name="blog", owner="token2", force=True))
    assert owners(store) == {"blog": "id2", "*.blog": "id2"}
    assert "*.blog with it" in capsys.readouterr().out


def test_a_copy_keeps_labels_as_they_are(store):
    given = name_of("given", assigned=True, used=60.0)
    done(store.reserve(given))
    done(store.reserve(name_of("*.given")))
    target = MemoryStore(lambda: 100.0)
    assert done(_copy(store, target)) == (3, 4, 0)
    assert done(target.reservations()) == done(store.reservations())
    assert done(target.reservation("given")).assigned
