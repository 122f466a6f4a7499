"""
L{burrow.wire.yamux} against a model of the specification: any frames in, any calls by the user, and after
each what the user is told and what the peer gets.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burrow.errors import StreamGone, WireError
from burrow.wire.events import (
    DataReceived,
    GoAwayReceived,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from burrow.wire.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    GoAwayCode,
    encode,
)
from burrow.wire.windows import INITIAL_WINDOW
from tests.wire.by_id import Yamux

MAX_STREAMS = 3


def cut(wire):
    """Our own reading of the frames in C{wire}."""
    frames = []
    while wire:
        version, kind, flags, stream_id, value = HEADER.unpack(wire[:HEADER_SIZE])
        assert version == 0
        assert kind in (DATA, WINDOW_UPDATE, PING, GO_AWAY)
        size = value if kind == DATA else 0
        assert len(wire) >= HEADER_SIZE + size
        frames.append((kind, flags, stream_id, value, wire[HEADER_SIZE : HEADER_SIZE + size]))
        wire = wire[HEADER_SIZE + size :]
    return frames


class BreachError(Exception):
    """The model says that the peer broke the protocol."""


class Known:
    """A stream as the model has it."""

    def __init__(self, taken):
        self.taken = taken
        self.fin_sent = False
        self.fin_received = False
        self.may_come = INITIAL_WINDOW
        self.may_go = INITIAL_WINDOW
        self.unsent = b""
        self.ending = ""


class Model:
    """The specification, "Opening a stream" to "Session termination", from one side."""

    def __init__(self, client):
        self.client = client
        self.open = {}
        self.next_id = 1 if client else 2
        self.highest = 0
        self.stray = 0
        self.went = self.peer_went = False
        self.due = []  # frames that the peer must get at once, in any order

    def ours(self, stream_id):
        return stream_id % 2 == (1 if self.client else 0)

    # What the peer sends.

    def receive(self, kind, flags, stream_id, value, payload):
        if kind == PING:
            if flags & SYN:
                self.due.append((PING, ACK, 0, value, b""))
                return []
            return [PongReceived(value)] if flags & ACK else []
        if kind == GO_AWAY:
            if self.peer_went and value == 0:
                return []
            self.peer_went = True
            never = [stream_id for stream_id, stream in self.open.items() if not stream.taken]
            for stream_id in never:
                del self.open[stream_id]
                self.due.append((WINDOW_UPDATE, RST, stream_id, 0, b""))
            return [GoAwayReceived(value), *[StreamReset(stream_id) for stream_id in never]]
        return self.receive_stream(kind, flags, stream_id, value, payload)

    def receive_stream(self, kind, flags, stream_id, value, payload):
        events = []
        if flags & SYN:
            if not stream_id or self.ours(stream_id) or stream_id in self.open:
                raise BreachError
            self.highest = max(self.highest, stream_id)
            theirs = sum(not self.ours(i) for i in self.open)
            if self.went or theirs >= MAX_STREAMS:
                self.due.append((WINDOW_UPDATE, RST, stream_id, 0, b""))
                return []
            self.open[stream_id] = Known(taken=True)
            events.append(StreamOpened(stream_id))
        stream = self.open.get(stream_id)
        if stream is None:
            if not stream_id:
                raise BreachError
            was = stream_id < self.next_id if self.ours(stream_id) else stream_id <= self.highest
            if kind == DATA and not was and not flags & RST and stream_id != self.stray:
                self.stray = stream_id
                self.due.append((WINDOW_UPDATE, RST, stream_id, 0, b""))
            return []
        if not stream.taken and not flags & RST:
            stream.taken = True
            events.append(StreamAccepted(stream_id))
        if kind == WINDOW_UPDATE:
            stream.may_go += value
            if stream.may_go > 2**32 - 1:
                raise BreachError
        elif payload:
            if stream.fin_received or len(payload) > stream.may_come:
                raise BreachError
            stream.may_come -= len(payload)
            events.append(DataReceived(stream_id, payload))
        if flags & RST:
            del self.open[stream_id]
            events.append(StreamReset(stream_id))
        elif flags & FIN and not stream.fin_received:
            stream.fin_received = True
            events.append(StreamEnded(stream_id))
            if stream.fin_sent:
                del self.open[stream_id]
        return events

    # What the peer gets.

    def sent(self, frame):
        kind, flags, stream_id, value, payload = frame
        if kind in (PING, GO_AWAY) or (flags & RST and frame in self.due):
            self.due.remove(frame)
            return
        stream = self.open[stream_id]
        if kind == DATA:
            assert payload
            assert stream.unsent.startswith(payload)
            assert len(payload) <= stream.may_go
            stream.unsent = stream.unsent[len(payload) :]
            stream.may_go -= len(payload)
        elif value:
            assert not stream.fin_received
            stream.may_come += value
        if flags & (FIN | RST):
            assert not stream.unsent
            assert not stream.fin_sent
            assert stream.ending == ("end" if flags & FIN else "break")
            stream.fin_sent = True
            if stream.fin_received or flags & RST:
                del self.open[stream_id]
        if flags & (SYN | ACK):
            assert flags & (SYN | ACK) == (SYN if self.ours(stream_id) else ACK)
            assert frame not in self.due


PAYLOADS = [b"", b"a", b"bcd", bytes(100_000)]

frames = st.tuples(
    st.sampled_from([DATA, DATA, WINDOW_UPDATE, WINDOW_UPDATE, PING, GO_AWAY]),
    st.sampled_from([0, 0, SYN, SYN, ACK, FIN, RST, SYN | FIN, SYN | RST, ACK | FIN, FIN | RST, 15, 0xFFF0]),
    st.integers(0, 9),
    st.sampled_from([0, 0, 1, 1000, 2**31, 2**32 - 1]),
    st.sampled_from(PAYLOADS),
)
calls = st.tuples(
    st.sampled_from(["open", "write", "end", "break", "reset", "consume", "go away"]), st.integers(0, 9)
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(client=st.booleans(), steps=st.lists(st.one_of(frames, calls), max_size=40), data=st.data())
def test_any_frames_and_any_calls(client, steps, data):
    session, model = Yamux(client=client, max_streams=MAX_STREAMS), Model(client)
    began = set()
    unread = {}
    for step in steps:
        if len(step) == 5:
            kind, flags, stream_id, value, payload = step
            if kind == DATA:
                value = len(payload)
            else:
                payload = b""
            if kind == GO_AWAY:
                value %= 3
            wire = encode(kind, flags, stream_id, value) + payload
            # A Data frame may come in two pieces, which say together what it says. Only, the first does not
            # say yet that the sender resets the stream, and may be answered with a RST.
            last = HEADER_SIZE - 1 if flags & RST else len(wire)
            where = data.draw(st.integers(0, last), "cut")
            try:
                expected = model.receive(kind, flags, stream_id, value, payload)
            except BreachError:
                with pytest.raises(WireError):
                    session.receive_data(wire)
                last = cut(session.pull(1 << 30))
                assert last[0] == (GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR, b"")
                return
            got = session.receive_data(wire[:where]) + session.receive_data(wire[where:])
            joined = []
            for event in got:
                if isinstance(event, DataReceived):
                    unread[event.stream_id] = unread.get(event.stream_id, 0) + len(event.data)
                    if joined and isinstance(joined[-1], DataReceived):
                        joined[-1].data += event.data
                        continue
                joined.append(event)
            assert joined == expected
        else:
            call, number = step
            usable = sorted(model.open)
            stream_id = usable[number % len(usable)] if usable else None
            if call == "open":
                if model.peer_went:
                    with pytest.raises(StreamGone):
                        session.open_stream()
                else:
                    assert session.open_stream() == model.next_id
                    model.open[model.next_id] = Known(taken=False)
                    model.next_id += 2
            elif call == "go away":
                if not model.went:
                    model.due.append((GO_AWAY, 0, 0, 0, b""))
                model.went = True
                session.go_away(GoAwayCode.NORMAL)
            elif stream_id is not None:
                stream = model.open[stream_id]
                if call == "write":
                    payload = PAYLOADS[number % len(PAYLOADS)]
                    if stream.ending:
                        with pytest.raises(StreamGone):
                            session.send_data(stream_id, payload)
                    else:
                        stream.unsent += payload
                        assert session.send_data(stream_id, payload) == len(stream.unsent)
                elif call == "end":
                    stream.ending = stream.ending or "end"
                    session.end_stream(stream_id)
                elif call == "break":
                    if stream.fin_sent:
                        del model.open[stream_id]
                        model.due.append((WINDOW_UPDATE, RST, stream_id, 0, b""))
                    stream.ending = "break"
                    session.break_stream(stream_id)
                elif call == "reset":
                    del model.open[stream_id]
                    model.due.append((WINDOW_UPDATE, RST, stream_id, 0, b""))
                    session.reset_stream(stream_id)
                elif call == "consume" and unread.get(stream_id):
                    session.consumed(stream_id, unread.pop(stream_id), 0.0)
        out = cut(session.pull(1 << 30))
        opened_now = set(model.open) - began
        for frame in out:
            model.sent(frame)
            if frame[1] & (SYN | ACK) and frame[0] in (DATA, WINDOW_UPDATE):
                assert frame[2] not in began  # its SYN or ACK goes out once
                began.add(frame[2])
        # At once: what answers the peer, the SYN or ACK of what is open, the bytes and the end that may go.
        assert model.due == []
        assert opened_now & set(model.open) <= began
        began &= set(model.open)
        for stream_id, stream in model.open.items():
            assert not stream.unsent or not stream.may_go
            assert stream.unsent or not stream.ending or stream.fin_sent
            assert session.queued(stream_id) == len(stream.unsent)
        assert session.stream_count == len(model.open)
