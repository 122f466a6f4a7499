"""Tests for L{burrow.protocols.counted}: what kinds count, of which anything may be wrong."""

from burrow.protocols.counted import MAX_COUNTS, counts_of
from burrow.protocols.kind import TunnelKind


class First(TunnelKind):
    name = "first"


class Second(TunnelKind):
    name = "second"


def test_each_kind_has_its_own():
    first, second = First(), Second()
    assert counts_of([first, second]) == {}
    first.counts["refused"] += 2
    second.counts["a_1"] += 1
    assert counts_of([first, second, object()]) == {"first": {"refused": 2}, "second": {"a_1": 1}}


def test_what_is_no_count_is_left_out():
    kind = First()
    kind.counts.update(
        {"Upper": 1, "": 1, "x" * 50: 1, 5: 1, "half": 0.5, "below": -1, "yes": True, "good": 3}
    )
    assert counts_of([kind]) == {"first": {"good": 3}}
    kind.counts = "nothing"
    assert counts_of([kind]) == {}


def test_names_are_bounded():
    kind = First()
    kind.counts.update({f"n{number:03}": 1 for number in range(1000)})
    assert list(counts_of([kind])["first"]) == [f"n{number:03}" for number in range(MAX_COUNTS)]
