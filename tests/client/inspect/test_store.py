"""burrow.client.inspect.store: what is kept is bounded, whatever passes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.inspect import captured as captured_module
from burrow.client.inspect.store import MAX_EVENTS, Store
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Message
from tests.client.inspect.parts import pass_through, record

MAX_BODY = 500
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["request", "response"]), st.integers(0, 10), st.integers(1, 900)),
        st.tuples(st.just("message"), st.integers(0, 10), st.integers(0, 900)),
        st.tuples(st.just("answer"), st.integers(0, 10), st.integers(0, 3)),
        st.tuples(st.just("end"), st.integers(0, 10)),
        st.tuples(st.just("clear")),
    ),
    max_size=80,
)


def perform(traffic, store, steps):
    """Do what the steps say; yield after each."""
    begun = []
    for name, *numbers in steps:
        if name == "begin":
            begun.append(record(headers=[(b"X-A", b"v" * 300)] * numbers[0]))
            traffic.begun(begun[-1])
        elif name == "clear":
            store.clear()
        elif begun:
            one = begun[numbers[0] % len(begun)]
            if name in ("request", "response"):
                traffic.body(one, name == "response", b"x" * numbers[1])
            elif name == "message":
                traffic.message(one, True, Message("text", b"m" * numbers[1], numbers[1]))
            elif name == "answer" and one.status is None:
                one.status, one.response_headers = 200, [(b"X-B", b"w" * 400)] * numbers[1]
                traffic.answered(one)
            elif name == "end":
                traffic.ended(one)
        yield


@given(STEPS, st.integers(1000, 20_000))
def test_memory_is_bounded_and_counted_truly(steps, most):
    store, traffic = Store(most, MAX_BODY), Traffic()
    traffic.add(store)
    for _ in perform(traffic, store, steps):
        kept = list(store.newest_first())
        assert store.cost <= most
        assert store.cost == sum(one.cost for one in kept)
        for one in kept:
            assert len(one.request.data) <= MAX_BODY >= len(one.response.data)
            held = len(one.request.data) + len(one.response.data)
            held += sum(len(message.data) for _, message in one.messages)
            held += sum(len(k) + len(v) for k, v in one.record.request_headers + one.record.response_headers)
            assert held <= one.cost
            assert sum(len(message.data) for _, message in one.messages) <= MAX_BODY
            assert one.messages_cost == sum(captured_module.message_cost(each) for _, each in one.messages)
        assert len(store.events) <= MAX_EVENTS


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12))
def test_a_body_keeps_its_beginning_and_counts_the_rest(pieces):
    store, traffic = Store(max_body=MAX_BODY), Traffic()
    traffic.add(store)
    one = record()
    traffic.begun(one)
    for piece in pieces:
        traffic.body(one, False, piece)
    whole, body = b"".join(pieces), store.get(one.id).request
    assert (bytes(body.data), body.size) == (whole[:MAX_BODY], len(whole))
    assert body.truncated == (len(whole) > MAX_BODY)


class StoreTests(SynchronousTestCase):
    def setUp(self):
        self.traffic = Traffic()

    def make(self, *arguments):
        self.store = Store(*arguments)
        self.store.followed = True
        self.traffic.add(self.store)
        return self.store

    def test_what_ended_first_makes_room_and_open_ones_stay(self):
        store = self.make(3 * 4000)
        socket = record(protocol="websocket")
        self.traffic.begun(socket)
        ids = [pass_through(self.traffic, response=b"x" * 900).id for _ in range(10)]
        kept = [one.record.id for one in store.newest_first()]
        self.assertIn(socket.id, kept)
        self.assertEqual(kept[0], ids[-1])
        self.assertEqual(store.dropped, 11 - len(kept))
        self.assertNotIn(ids[0], kept)

    def test_many_messages_leave_the_newest(self):
        store = self.make()
        socket = record(protocol="websocket")
        self.traffic.begun(socket)
        for number in range(captured_module.MAX_MESSAGES + 7):
            self.traffic.message(socket, False, Message("text", b"%d" % number, 4))
        one = store.get(socket.id)
        self.assertEqual(len(one.messages), captured_module.MAX_MESSAGES)
        self.assertEqual((one.first_message, one.messages[0][1].data), (7, b"7"))
        self.assertEqual(one.message_count, captured_module.MAX_MESSAGES + 7)

    def test_clearing_forgets_what_runs_too(self):
        store = self.make()
        one = record()
        self.traffic.begun(one)
        store.clear()
        self.traffic.body(one, True, b"late")
        self.traffic.ended(one)
        self.assertEqual((len(store), store.cost), (0, 0))
        self.assertEqual([event.kind for event in store.events], ["begun", "cleared"])

    def test_events_have_numbers_without_gaps(self):
        store = self.make()
        pass_through(self.traffic)
        self.assertEqual(
            [(event.number, event.kind) for event in store.events],
            [(1, "begun"), (2, "answered"), (3, "ended")],
        )


def test_events_are_noted_once_somebody_follows():
    store, traffic = Store(), Traffic()
    traffic.add(store)
    pass_through(traffic)
    assert (len(store), store.last_event) == (1, 0)
    store.followed = True
    pass_through(traffic)
    assert [event.kind for event in store.events] == ["begun", "answered", "ended"]
