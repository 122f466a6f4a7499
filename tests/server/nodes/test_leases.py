"""
Tests for L{burrow.server.nodes.leases}: what is worked out from what changed is what would be worked out from
everything, at each step.
"""

import attr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from burrow.server.nodes.leases import Leases
from burrow.server.nodes.records import Lease, to_text

NAMES, NODES = st.sampled_from("abcd"), st.sampled_from(["one", "two"])


class Compared(RuleBasedStateMachine):
    """One node's leases, beside a store that is a dictionary, and all of it worked out anew."""

    def __init__(self):
        super().__init__()
        self.leases = Leases("us")
        self.there, self.told = {}, False
        self.touched = set()
        self.held, self.theirs = {}, {}
        self.alive, self.unnoted = set(), set()
        self.time = 0.0
        self.fresh = True

    def lease(self, name, node, token, back=0.0):
        self.time += 1
        return Lease(name, node, "http", None, self.time - back, token)

    @rule(name=NAMES, node=NODES, token=st.sampled_from(["", "x", "y"]), back=st.sampled_from([0.0, 3.0]))
    def other_node_writes(self, name, node, token, back):
        self.there[name] = self.lease(name, node, token, back)
        self.touched.add(name)

    @rule(name=NAMES)
    def lease_is_removed(self, name):
        if self.there.pop(name, None):
            self.touched.add(name)

    @rule(node=NODES, how=st.sampled_from(["dead", "alive", "unnoted"]))
    def node_changes(self, node, how):
        self.alive.discard(node)
        self.unnoted.discard(node)
        if how != "dead":
            self.alive.add(node)
        if how == "unnoted":
            self.unnoted.add(node)
        self.leases.of_nodes([node])
        self.fresh = False

    @rule(name=NAMES, token=st.sampled_from(["", "x", "y"]), written=st.booleans())
    def hold(self, name, token, written):
        lease = self.lease(name, "us", token)
        was_theirs = name in self.theirs
        assert self.leases.hold(lease) == was_theirs
        self.theirs.pop(name, None)
        self.held[name] = lease
        if written:
            self.there[name] = lease
            self.touched.add(name)
        else:
            self.leases.not_written(name)

    @rule(name=NAMES, removed=st.booleans())
    def let_go(self, name, removed):
        assert self.leases.let_go(name) == self.held.pop(name, None)
        if removed:
            self.lease_is_removed(name)
        self.fresh = False

    @rule(all_of_it=st.booleans(), whole=st.booleans(), yielding=st.booleans())
    def look(self, all_of_it, whole, yielding):
        # A store that is not whole is read as a whole, and so is the next time: see ChangeReader.
        all_of_it = all_of_it or not whole or not self.told
        texts = {name: to_text(lease) for name, lease in self.there.items()}
        if all_of_it:
            self.leases.read(texts, True)
        else:
            self.leases.read({name: texts.get(name) for name in self.touched}, False)
        self.told = whole
        self.touched = set()
        resolved = self.leases.resolve(self.alive, self.unnoted, whole, yielding and whole)
        before = dict(self.theirs)
        contested, taken = self.anew(whole, yielding and whole)
        assert sorted(lease.name for lease in resolved.contested) == sorted(contested)
        assert sorted(lease.name for lease in resolved.taken) == sorted(taken)
        changed = {name for name in {*before, *self.theirs} if before.get(name) != self.theirs.get(name)}
        assert set(resolved.changed) == changed
        self.fresh = True

    def anew(self, whole, yielding):
        kept = {name: lease for name, lease in self.theirs.items() if not whole or lease.node in self.unnoted}
        known = {**kept, **self.there}
        theirs = {name: lease for name, lease in known.items() if lease.node in self.alive}
        later = [
            theirs[name]
            for name, ours in self.held.items()
            if name in theirs and (yielding or theirs[name].newer_than(ours))
        ]
        contested = [lease.name for lease in later if lease.of_another_token(self.held[lease.name])]
        taken = [lease.name for lease in later if lease.name not in contested]
        for name in taken:
            del self.held[name]
        self.theirs = {name: lease for name, lease in theirs.items() if name not in self.held}
        return contested, taken

    @precondition(lambda self: self.fresh)
    @invariant()
    def same(self):
        assert self.leases.held == self.held
        assert self.leases.theirs == self.theirs

    @invariant()
    def indexes_fit(self):
        for token in ("", "x", "y"):
            names = {name for name, lease in self.leases.theirs.items() if lease.token == token}
            assert set(self.leases.names_of_token(token)) == names

    @precondition(lambda self: self.told)
    @rule()
    def mend(self):
        """What is to be written and removed is just that."""
        self.look(False, True, False)
        wrong = {
            name: to_text(self.there[name]) if name in self.there else None
            for name, ours in self.held.items()
            if self.there.get(name) != ours
        }
        assert {ours.name: text for ours, text in self.leases.unwritten()} == wrong
        worthless = self.leases.worthless(self.alive, 100)
        assert {name for name, _ in worthless} == {
            name
            for name, lease in self.there.items()
            if lease.node not in self.alive and name not in self.held
        }
        assert len(self.leases.worthless(self.alive, 1)) == min(1, len(worthless))


Compared.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCompared = Compared.TestCase


def test_a_lease_of_ours_that_comes_back_is_kept_once():
    leases = Leases("us")
    ours = Lease("a", "us", "http", None, 1.0, "token")
    leases.hold(ours)
    leases.read({"a": to_text(ours)}, True)
    assert leases._noted["a"][1] is ours
    assert next(iter(leases._names_of["us"])) is ours.name
    older = attr.evolve(ours, since=0.5)
    leases.read({"a": to_text(older)}, True)
    assert leases._noted["a"][1] == older
    assert leases.held["a"] is ours


def test_a_contested_lease_is_told_until_it_is_settled():
    leases = Leases("us")
    ours, other = Lease("a", "us", "http", None, 1.0, "x"), Lease("a", "one", "http", None, 2.0, "y")
    leases.hold(ours)
    leases.read({"a": to_text(other)}, False)
    for _ in range(3):
        assert leases.resolve({"one"}, (), True, False).contested == [other]
    again = attr.evolve(ours, since=3.0)
    leases.take_again(again)
    assert leases.resolve({"one"}, (), True, False).contested == []
    assert leases.unwritten() == [(again, to_text(other))]
    leases.read({"a": to_text(again)}, False)
    assert leases.unwritten() == []


def test_a_lease_that_was_told_counts_until_one_is_read_that_is_no_older():
    leases = Leases("us")
    before, told, later = (Lease("a", "one", "http", None, since, "x") for since in (1.0, 2.0, 3.0))
    leases.read({"a": to_text(before)}, True)
    leases.resolve({"one"}, (), True, False)
    assert leases.told(told)
    assert not leases.told(told)
    assert not leases.told(before)
    assert leases.theirs == {"a": told}
    for _ in range(2):  # the store may have the older one for long, if it was away
        leases.read({"a": to_text(before)}, True)
        assert leases.resolve({"one"}, (), True, False).changed == []
        assert leases.theirs == {"a": told}
    leases.read({"a": to_text(later)}, False)
    assert leases.resolve({"one"}, (), True, False).changed == ["a"]
    assert leases.theirs == {"a": later}
    leases.read({"a": to_text(before)}, False)
    leases.resolve({"one"}, (), True, False)
    assert leases.theirs == {"a": before}


def test_a_lease_that_was_told_ends_with_its_note_its_node_or_ours():
    leases = Leases("us")
    told = Lease("a", "one", "http", None, 2.0)
    for end in ("note", "node", "ours"):
        assert leases.told(told)
        assert leases.resolve({"one"}, (), True, False).changed == []
        assert leases.theirs == {"a": told}
        if end == "note":
            leases.read({"a": None}, False)
        elif end == "node":
            leases.of_nodes(["one"])
        else:
            leases.hold(Lease("a", "us", "http", None, 3.0))
            assert not leases.told(told)
            leases.let_go("a")
        leases.resolve(set() if end == "node" else {"one"}, (), True, False)
        assert (leases.theirs, leases._told) == ({}, {})


def test_a_lease_that_was_read_by_itself_counts_until_the_next_look():
    leases = Leases("us")
    lease = Lease("a", "one", "http", None, 1.0)
    leases.seen(lease)
    assert leases.theirs == {"a": lease}
    assert leases.resolve({"one"}, (), True, False).changed == ["a"]
    assert leases.theirs == {}
