"""Tests for L{burrow.traffic}: who is told what of a request."""

from twisted.trial.unittest import SynchronousTestCase

from burrow.traffic.hub import Listener, Traffic
from burrow.traffic.record import Message, Record


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self, bodies=False):
        self.bodies = bodies
        self.calls = []

    def begun(self, record):
        self.calls.append(("begun", record.target))

    def answered(self, record):
        self.calls.append(("answered", record.status, record.first_byte))

    def ended(self, record):
        self.calls.append(("ended", record.error, record.took))

    def body(self, record, outbound, data):
        self.calls.append(("body", outbound, data))

    def message(self, record, outbound, message):
        self.calls.append(("message", outbound, message.kind))


class Failing(Listener):
    bodies = True

    def begun(self, record):
        raise RuntimeError("this listener is broken")

    answered = ended = begun
    body = message = lambda self, record, outbound, data: self.begun(record)


class Hub(SynchronousTestCase):
    def setUp(self):
        self.time = 10.0
        self.traffic = Traffic()
        self.record = Record("http", "blog", "192.0.2.1:5000", target="/a?b", _clock=lambda: self.time)

    def tell_all(self):
        self.traffic.begun(self.record)
        self.traffic.body(self.record, False, b"question")
        self.record.status = 200
        self.time += 0.5
        self.traffic.answered(self.record)
        self.traffic.body(self.record, True, b"answer")
        self.traffic.message(self.record, True, Message("text", b"hello", 5))
        self.time += 0.5
        self.traffic.ended(self.record)

    def test_nobody_listens_at_first_and_at_last(self):
        listener = Told(bodies=True)
        self.assertFalse(self.traffic.listening or self.traffic.bodies)
        self.traffic.add(listener)
        self.assertTrue(self.traffic.listening and self.traffic.bodies)
        self.traffic.remove(listener)
        self.traffic.remove(listener)
        self.assertFalse(self.traffic.listening or self.traffic.bodies)

    def test_bodies_are_told_to_those_who_want_them(self):
        plain, whole = Told(), Told(bodies=True)
        self.traffic.add(plain)
        self.assertFalse(self.traffic.bodies)
        self.traffic.add(whole)
        self.tell_all()
        self.assertEqual(plain.calls, [("begun", "/a?b"), ("answered", 200, 0.5), ("ended", "", 1.0)])
        self.assertEqual(
            [call for call in whole.calls if call not in plain.calls],
            [("body", False, b"question"), ("body", True, b"answer"), ("message", True, "text")],
        )

    def test_listener_that_fails_harms_nobody(self):
        listener = Told(bodies=True)
        self.traffic.add(Failing())
        self.traffic.add(listener)
        self.tell_all()
        self.assertEqual(len(listener.calls), 6)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 6)

    def test_end_is_told_once(self):
        listener = Told()
        self.traffic.add(listener)
        self.traffic.ended(self.record, "the visitor left")
        self.time += 1
        self.traffic.ended(self.record)
        self.assertEqual(listener.calls, [("ended", "the visitor left", 0.0)])
        self.assertEqual(self.record.age, 0.0)

    def test_record_tells_its_age_and_path(self):
        self.assertEqual(self.record.path, "/a")
        self.time += 2
        self.assertFalse(self.record.ended)
        self.assertEqual(self.record.age, 2.0)

    def test_ids_are_in_order(self):
        first, second = (Record("tcp", "db", "192.0.2.1:5000") for _ in range(2))
        self.assertLess(int(first.id), int(second.id))


def test_tunnels_that_somebody_wants():
    traffic, one, two, all_of_them = Traffic(), Listener(), Listener(), Listener()
    one.tunnels, two.tunnels = frozenset({"blog"}), frozenset({"shop"})
    for listener in (one, two):
        traffic.add(listener)
    assert [traffic.wants(f"{name}.example.com") for name in ("blog", "shop", "x")] == [True, True, False]
    one.tunnels = frozenset()
    traffic.changed()
    assert not traffic.wants("blog.example.com")
    traffic.add(all_of_them)
    assert traffic.wants("x.example.com")
    traffic.remove(all_of_them)
    assert not traffic.wants("x.example.com")
