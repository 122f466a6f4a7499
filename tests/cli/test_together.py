"""Tests for L{burrow.cli.together}: the token of this machine's agent."""

from twisted.internet.defer import Deferred

from burrow.cli.together import _own_token
from burrow.store.memory import MemoryStore
from burrow.store.tokens import check_token


def done(coroutine):
    """The result of a coroutine that waits for nothing."""
    results = []
    Deferred.fromCoroutine(coroutine).addCallback(results.append)
    return results.pop()


def test_a_lost_secret_is_replaced_and_the_token_stays(tmp_path):
    store = MemoryStore(lambda: 0.0)
    first = done(_own_token(store, tmp_path))
    assert done(_own_token(store, tmp_path)) == first
    known = done(check_token(store, first))
    (tmp_path / "local-token").unlink()
    second = done(_own_token(store, tmp_path))
    assert second != first
    assert done(check_token(store, second)).id == known.id
    assert done(check_token(store, first)) is None
