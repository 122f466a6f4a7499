"""Tests for L{burrow.store.changes}: a store's log of what changed."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.store import changes
from burrow.store.changes import ChangeLog, by_space


class Log(SynchronousTestCase):
    def test_versions_that_are_not_of_this_log(self):
        log, other = ChangeLog(), ChangeLog()
        log.add("a", "one")
        for version in (
            "",
            "nonsense",
            other.version,
            log.version.partition(":")[0],
            f"{log.version}0",
            ":1",
        ):
            self.assertIsNone(log.since(version), version)
        self.assertEqual(log.since(log.version), [])

    def test_what_is_forgotten_is_not_told(self):
        self.patch(changes, "MAX_LOGGED", 3)
        log = ChangeLog()
        versions = [log.version]
        for number in range(5):
            log.add("a", str(number))
            versions.append(log.version)
        told = [log.since(version) for version in versions]
        self.assertEqual([None if one is None else len(one) for one in told], [None, None, 3, 2, 1, 0])

    def test_only_the_spaces_that_are_asked_for(self):
        changed = [("a", "one"), ("b", "two"), ("tokens", "t"), ("reservations", "n"), ("a", "three")]
        expected = {"a": ["one", "three"], "c": [], "tokens": ["t"], "reservations": ["n"]}
        self.assertEqual(by_space(changed, ("a", "c")), expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123456"))), st.integers(1, 8))
def test_each_version_is_told_what_came_after_it_once(added, most):
    before, changes.MAX_LOGGED = changes.MAX_LOGGED, most
    try:
        log = ChangeLog()
        versions = [log.version]
        for one in added:
            log.add(*one)
            versions.append(log.version)
        for count, version in enumerate(versions):
            told = log.since(version)
            if told is None:
                assert len(set(added)) > most
            else:
                assert sorted(told) == sorted(set(added[count:]))
    finally:
        changes.MAX_LOGGED = before
