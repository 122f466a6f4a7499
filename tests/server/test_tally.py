"""Tests for L{burrow.server.tunnel.Tally}: it tells what passed, whatever was sent and however it ended."""

from hypothesis import given
from hypothesis import strategies as st

from burrow.server.tunnel import Tally
from burrow.wire.events import DataReceived
from burrow.wire.yamux import Yamux

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # which stream
        st.sampled_from(("write", "answer", "read", "end", "reset", "pump")),
        st.integers(1, 400_000),
    ),
    max_size=40,
)


@given(STEPS)
def test_a_tally_tells_what_passed(steps):
    server, agent = Yamux(client=False), Yamux(client=True)
    tally, streams = Tally(), [server.open_stream() for _ in range(3)]
    for stream in streams:
        tally.add(stream)
    passed = {"sent": 0, "received": 0}
    held = {stream.stream_id: 0 for stream in streams}

    def pump():
        for _ in range(200):
            out, back = server.pull(1 << 16), agent.pull(1 << 16)
            for end, data, which in ((agent, out, "sent"), (server, back, "received")):
                for event in end.receive_data(data):
                    if isinstance(event, DataReceived):
                        passed[which] += len(event.data)
                        if end is agent:
                            held[event.stream_id] += len(event.data)
            if not (out or back):
                return

    pump()
    for number, step, amount in steps:
        mine = streams[number]
        theirs = agent.streams.get(mine.stream_id)
        if step == "write" and not mine.write_ended and not mine.closing:
            mine.write(b"x" * amount)
        elif step == "answer" and theirs is not None and not theirs.write_ended and not theirs.closing:
            theirs.write(b"y" * amount)
        elif step == "read" and theirs is not None:
            theirs.consumed(held[mine.stream_id], 1.0)
            held[mine.stream_id] = 0
        elif step == "end":
            mine.end()
        elif step == "reset":
            mine.reset()
        pump()
        # What came for a stream that is reset already passed, but is nobody's.
        assert tally.sent == passed["sent"]
        assert tally.received == passed["received"]


def test_a_stream_that_is_closed_already_is_counted():
    server, agent = Yamux(client=False), Yamux(client=True)
    stream, tally = server.open_stream(), Tally()
    stream.write(b"hello")
    agent.receive_data(server.pull(1 << 16))
    stream.reset()
    tally.add(stream)
    assert (tally.sent, tally.received) == (5, 0)
    assert not tally._open
