"""Tests for L{burrow.wire.resume}: by example, and any cuts of any carriers at random."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burrow.errors import WireError
from burrow.wire.resume import ACK_EVERY, PACKET_OVERHEAD, Replay
from tests.wire.by_id import Yamux


def wrapped(replay, data):
    """The packet that carries C{data}."""
    return replay.keep(data) + data


def test_bytes_are_kept_until_they_are_acknowledged():
    one, two = Replay(), Replay()
    packet = wrapped(one, b"hello")
    assert one.unacknowledged == 5
    assert two.receive(packet) == b"hello"
    assert not two.due
    assert one.receive(two.acknowledgement()) == b""
    assert one.unacknowledged == 0
    assert two.acknowledgement() is None


def test_many_bytes_are_acknowledged_at_once():
    one, two = Replay(), Replay()
    two.receive(wrapped(one, bytes(ACK_EVERY)))
    assert two.due
    assert len(two.acknowledgement()) == PACKET_OVERHEAD
    assert not two.due


def test_what_comes_twice_is_cut_off():
    one, two = Replay(), Replay()
    first, second = wrapped(one, b"abc"), wrapped(one, b"def")
    two.receive(first)
    assert two.receive(first) == b""
    assert two.receive(second) == b"def"
    overlapping = first + b"defghi"
    assert two.receive(overlapping) == b"ghi"


def test_new_carrier_continues_in_the_middle_of_a_packet():
    one, two = Replay(), Replay()
    for piece in (b"abc", b"def", b"ghi"):
        one.keep(piece)
    packets = one.again(4)
    two.received = 4
    assert b"".join(map(two.receive, packets)) == b"efghi"
    assert one.again(9) == []
    assert one.unacknowledged == 0


def test_limit():
    replay = Replay(limit=10)
    replay.keep(b"123456789")
    assert not replay.full
    replay.keep(b"0")
    assert replay.full
    replay.acknowledge(9)
    assert not replay.full


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00" * 8,
        b"\x02" + bytes(8),
        b"\x01" + bytes(9),
        b"\x00" + bytes(7) + b"\x01x",
        b"\x01" + bytes(7) + b"\x09",
    ],
)
def test_what_is_no_packet(packet):
    with pytest.raises(WireError):
        Replay().receive(packet)


def test_peer_that_claims_what_cannot_be():
    replay = Replay()
    replay.keep(b"abc")
    with pytest.raises(WireError):
        replay.again(4)


def test_peer_that_acknowledged_more_since_it_said_what_it_has():
    replay = Replay()
    for piece in (b"abc", b"def"):
        replay.keep(piece)
    replay.acknowledge(3)
    assert replay.again(2) == [b"\x00" + bytes(7) + b"\x03def"]


class End:
    """A yamux session in a resumable envelope, and what it got."""

    def __init__(self, client):
        self.session = Yamux(client=client)
        self.replay = Replay()
        self.got = b""

    def packets(self, limit):
        data = self.session.pull(limit)
        return [wrapped(self.replay, data)] if data else []

    def receive(self, packet):
        for event in self.session.receive_data(self.replay.receive(packet)):
            if hasattr(event, "data"):
                self.got += event.data
                self.session.consumed(event.stream_id, len(event.data), 0.0)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_any_cuts_at_any_byte_lose_and_double_nothing(data):
    """
    Each carrier delivers some packets of either side, in order, and is then cut, whatever was on its way;
    also while the next one shakes hands, in which the numbers grow old. Both ends read exactly what was
    written.
    """
    agent, server = End(True), End(False)
    stream_id = agent.session.open_stream()
    written = {True: b"", False: b""}
    opened = False
    pipes = {True: [], False: []}

    def use(actions, sides=(True, False)):
        """Something happens on the carrier that there is."""
        nonlocal opened
        for _ in range(data.draw(st.integers(0, 6))):
            client = data.draw(st.sampled_from(sides))
            end, other = (agent, server) if client else (server, agent)
            action = data.draw(st.sampled_from(actions))
            if action == "write" and (client or opened):
                chunk = data.draw(st.binary(max_size=60))
                end.session.send_data(stream_id, chunk)
                written[client] += chunk
            elif action == "pull":
                pipes[client] += end.packets(data.draw(st.integers(1, 200)))
            elif action == "ack":
                packet = end.replay.acknowledgement()
                pipes[client] += [packet] if packet else []
            elif pipes[client]:
                other.receive(pipes[client].pop(0))
                opened = server.session.stream_count > 0

    for _ in range(data.draw(st.integers(1, 12), label="carriers")):
        agent_has = agent.replay.received  # it dials
        use(["deliver", "ack"])
        server_has = server.replay.received  # it answers, and takes the new carrier
        again = server.replay.again(agent_has)
        use(["deliver"], [False])  # what is on its way still arrives
        pipes = {True: agent.replay.again(server_has), False: again}
        use(["write", "pull", "deliver", "ack"])
    pipes = {
        True: agent.replay.again(server.replay.received),
        False: server.replay.again(agent.replay.received),
    }
    while any(pipes.values()) or any(agent.session.output) or any(server.session.output):
        for client, end, other in ((True, agent, server), (False, server, agent)):
            pipes[client] += end.packets(1 << 20)
            for packet in pipes[client]:
                other.receive(packet)
            pipes[client] = []
    assert server.got == written[True]
    assert agent.got == written[False]
