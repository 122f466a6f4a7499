"""
The same frames, right and slightly wrong, read by ours and by h2's server: they agree on requests, bodies and
errors, but for what L{DIFFERENCES} lists.
"""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from burrow.http.http2_server import frames
from burrow.http.http2_server.frames import MOST, PREFACE, Code, Fault, Setting, frame
from tests.http.http2_server import one as client
from tests.http.http2_server.one import ACK, END, GET, HEAD_ENDS, PADDED, WITH_PRIORITY, One, block

SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: 3,
    SettingCodes.INITIAL_WINDOW_SIZE: 40_000,
    SettingCodes.MAX_HEADER_LIST_SIZE: 65536,
}


class Theirs:
    """h2's server, whose events and frames are told as ours are."""

    def __init__(self):
        self.h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
            )
        )
        self.h2.local_settings = Settings(client=False, initial_values=SETTINGS)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(client.WINDOW - 65535)
        self.read(PREFACE + client.settings())

    def read(self, data):
        """@return: what is told, the streams that are reset, and the code of the connection's fault."""
        told, fault = [], None
        try:
            for each in self.h2.receive_data(data):
                told += self._told(each)
        except ProtocolError as error:
            fault = Code(error.error_code)
        return told, self._resets(), fault

    def _told(self, each):
        if isinstance(each, RequestReceived):
            yield "request", each.stream_id, [tuple(pair) for pair in each.headers], bool(each.stream_ended)
        elif isinstance(each, DataReceived):
            ended = each.stream_ended is not None
            yield "data", each.stream_id, bytes(each.data), each.flow_controlled_length, ended
        elif isinstance(each, TrailersReceived):
            yield "trailers", each.stream_id, [tuple(pair) for pair in each.headers]
        elif isinstance(each, StreamReset):
            yield ("reset" if each.remote_reset else "broken"), each.stream_id
        elif isinstance(each, WindowUpdated):
            yield ("widened",)
        elif isinstance(each, (PingReceived, RemoteSettingsChanged)):
            yield ("answered",)
        elif isinstance(each, ConnectionTerminated):
            yield "leaves", each.error_code

    def _resets(self):
        data, resets = self.h2.data_to_send(), []
        while data:
            each, length = Frame.parse_frame_header(memoryview(data[:9]))
            each.parse_body(memoryview(data[9 : 9 + length]))
            if type(each).__name__ == "RstStreamFrame":
                resets.append((each.stream_id, Code(each.error_code)))
            data = data[9 + length :]
        return resets

    def windows(self, ids):
        h2 = self.h2
        return [h2.outbound_flow_control_window, h2.inbound_flow_control_window] + [
            (h2.streams[id].outbound_flow_control_window, h2.streams[id].inbound_flow_control_window)
            for id in ids
        ]


class Ours(One):
    """Our server, told in the same way."""

    def __init__(self):
        super().__init__(limits={Setting(code): value for code, value in SETTINGS.items()})

    def read(self, data):
        before, fault = len(self.listener.calls), None
        try:
            self.say(data)
        except Fault as error:
            fault = error.code
        return self.listener.calls[before:], self.resets, fault

    def windows(self, ids):
        server = self.server
        return [server.window, server.open] + [
            (server.streams[id].window, server.streams[id].open) for id in ids
        ]


IDS = st.sampled_from([*[1] * 6, *[3] * 6, *[5] * 4, *[7] * 3, 9, 9, 0, 2])
RIGHT = ["head"] * 7 + ["data"] * 5 + ["window"] * 3 + ["end"] * 3
RIGHT += ["reset", "priority", "ping", "settings", "acknowledgement", "unknown", "answer", "we reset"]
FLAGS = st.sampled_from([0, END, HEAD_ENDS, HEAD_ENDS | END, HEAD_ENDS | END, HEAD_ENDS | END])
SIZES = st.sampled_from([0, 1, 5, 100, 16384])
TRAILERS = [(b"x-sum", b"1")]


@st.composite
def a_frame(draw):
    """A name, which tells what kind it is of, and what the client sends."""
    id = draw(IDS)
    wrong = draw(st.integers(0, 14)) == 0
    name = draw(st.sampled_from([*OTHERS] if wrong else RIGHT))
    if name == "head":
        flags = draw(FLAGS)
        body = block(draw(st.sampled_from([GET, GET, TRAILERS, []])))
        if draw(st.integers(0, 9)) == 0:
            flags |= WITH_PRIORITY
            body = draw(st.sampled_from([0, 1, 3])).to_bytes(4, "big") + b"\7" + body
        if draw(st.integers(0, 9)) == 0:
            flags |= PADDED
            body = draw(st.sampled_from([b"\0", b"\2", b"\x09"])) + body + bytes(2)
        if draw(st.integers(0, 19)) == 0:
            body = draw(st.sampled_from([b"", b"\xbe", b"\x80", b"\x40\1", b"\x20" * 2]))
        return name, id, flags, frame(frames.HEADERS, flags, id, body)
    if name == "continuation":
        flags = draw(FLAGS)
        return name, id, flags, frame(frames.CONTINUATION, flags, id, block(TRAILERS))
    if name == "data":
        flags = draw(st.sampled_from([0, 0, 0, END, END, PADDED, PADDED | END]))
        body = bytes(draw(SIZES))
        if flags & PADDED:
            body = draw(st.sampled_from([b"\0", b"\4", b"\xff"])) + body[: frames.LEAST_FRAME - 1]
        return name, id, flags, frame(frames.DATA, flags, id, body)
    if name == "window":
        more = draw(st.sampled_from([1, 100, 100, MOST - 65535, MOST - 65534, MOST, 0, MOST + 1]))
        return name, id, more, client.window(id, more)
    if name == "settings":
        pairs = draw(st.lists(st.sampled_from(PAIRS), max_size=2, unique_by=lambda pair: pair[0]))
        return name, id, pairs, client.settings(*pairs)
    make = OTHERS[name]
    return name, id, None, b"" if make is None else make(id)


PAIRS = [
    *((4, size) for size in (0, 1, 70000, MOST, MOST + 1)),
    *((5, size) for size in (16383, 16384, 2**24 - 1, 2**24)),
    *((code, value) for code in (2, 8) for value in (0, 1, 2)),
    *((1, 0), (1, 4096), (3, 0), (6, 1), (0x99, 5)),
]
OTHERS = {
    "reset": client.rst,
    "priority": lambda id: frame(frames.PRIORITY, 0, id, b"\0\0\0\3\0"),
    "short priority": lambda id: frame(frames.PRIORITY, 0, id, b"\0\0\0\3"),
    "ping": lambda id: frame(frames.PING, 0, 0, bytes(8)),
    "pong": lambda id: frame(frames.PING, ACK, 0, bytes(8)),
    "short ping": lambda id: frame(frames.PING, 0, 0, bytes(7)),
    "ping of a stream": lambda id: frame(frames.PING, 0, 1, bytes(8)),
    "settings": None,
    "acknowledgement": lambda id: frame(frames.SETTINGS, ACK, 0),
    "long acknowledgement": lambda id: frame(frames.SETTINGS, ACK, 0, bytes(6)),
    "settings of a stream": lambda id: frame(frames.SETTINGS, 0, 1),
    "settings cut off": lambda id: frame(frames.SETTINGS, 0, 0, bytes(7)),
    "push": lambda id: frame(frames.PUSH_PROMISE, HEAD_ENDS, 1, b"\0\0\0\2\x82"),
    "long reset": lambda id: frame(frames.RST_STREAM, 0, id, bytes(5)),
    "long window": lambda id: frame(frames.WINDOW_UPDATE, 0, id, bytes(5)),
    "unknown": lambda id: frame(0xEE, 0xFF, id, bytes(20)),
    "continuation": None,
    "answer": None,
    "end": None,
    "we reset": None,
}
"""Frames of other kinds, by their names; and what the server itself does with one of its streams."""


def compare(steps):
    """
    Have both read the same, frame by frame, until they differ or the connection ends.

    @return: nothing if they never differed; else what differed, as L{DIFFERENCES} has it.
    """
    ours, theirs = Ours(), Theirs()
    for name, id, more, said in steps:
        stream = ours.server.streams.get(id)
        if name in ("answer", "end", "we reset"):
            if stream is not None and (stream.sends or name == "we reset"):
                _do(name, ours, theirs, id)
            continue
        was = _state(ours, id)
        mine, other = ours.read(said), theirs.read(said)
        if mine != other:
            return name, id, more, was, mine, other
        if mine[2] is not None:
            return None
        open_ids = [id for id in ours.server.streams if id in theirs.h2.streams]
        assert set(ours.server.streams) == {id for id, each in theirs.h2.streams.items() if not each.closed}
        assert ours.windows(open_ids) == theirs.windows(open_ids)
    return None


def _do(name, ours, theirs, id):
    """The server itself does something with a stream."""
    if name == "we reset":
        ours.server.reset(id, Code.CANCEL)
        theirs.h2.reset_stream(id, Code.CANCEL)
    else:
        ours.answer(id, end=name == "end")
        theirs.h2.send_headers(
            id, [(b":status", b"103" if name == "answer" else b"200")], end_stream=name == "end"
        )
    ours.sent()
    theirs.h2.data_to_send()


def _state(ours, id):
    """What a stream is to a client (RFC 9113 section 5.1)."""
    server = ours.server
    if server._parts_of:
        return "within a head"
    stream = server.streams.get(id)
    if stream is not None:
        return "open" if stream.receives else "half-closed (remote)"
    if id == 0 or id % 2 == 0 or id > server._last:
        return "idle"
    if id in server._reset:
        return "reset by us"
    return "left out" if any(id in gap for gap in server._gaps) else "closed"


def _late(mine, other):
    """What is late is dropped; h2 resets the stream once more."""
    return (
        mine == ([], [], None) and other[2] is None and {code for _, code in other[1]} == {Code.STREAM_CLOSED}
    )


def _once(mine, other):
    """What is late is dropped, where h2 ends the connection."""
    return mine == ([], [], None) and other[2] is Code.STREAM_CLOSED


def _both(mine, other):
    """Both end the connection, with another code each."""
    return mine[2] is not None and other[2] is not None


def _alone(code):
    """We end the stream, and h2 the connection."""
    return lambda mine, other: [each for _, each in mine[1]] == [code] and other[2] is not None


def _ours(code):
    """We end the connection by C{code}, and h2 does not."""
    return lambda mine, other: mine[2] is code and other[2] is None


ANY = None
DIFFERENCES = [
    # frames, what they say besides, states of their stream, how they are told, why ours is right
    ({"head", "data"}, ANY, {"reset by us"}, _late, "5.1: a peer may not have seen our reset yet"),
    (
        {"head", "continuation"},
        ANY,
        {"reset by us", "within a head"},
        _once,
        "5.1: it was closed by both, and reset by us for bytes behind its end",
    ),
    (ANY, ANY, {"within a head"}, _both, "6.10: that is looked at first; by h2 what is in the frame"),
    (
        {"head", "continuation"},
        ANY,
        ANY,
        lambda mine, other: (mine[2], other[2]) == (Code.COMPRESSION_ERROR, Code.PROTOCOL_ERROR),
        "4.3: a head that cannot be decoded is a COMPRESSION_ERROR",
    ),
    (
        {"continuation"},
        ANY,
        {"open", "half-closed (remote)", "reset by us", "closed", "left out", "idle"},
        lambda mine, other: mine[2] is Code.PROTOCOL_ERROR and other[2] is not None,
        "6.10: a CONTINUATION of nothing is a PROTOCOL_ERROR",
    ),
    (
        {"continuation"},
        ANY,
        {"within a head"},
        lambda mine, other: _late(mine, other) or _alone(Code.PROTOCOL_ERROR)(mine, other),
        "as of a head that comes at once",
    ),
    ({"continuation"}, ANY, {"within a head"}, _alone(Code.REFUSED_STREAM), "5.1.2, as above"),
    ({"continuation"}, ANY, {"within a head"}, _ours(Code.STREAM_CLOSED), "5.1, as of a head at once"),
    ({"head"}, ANY, {"idle"}, _alone(Code.REFUSED_STREAM), "5.1.2: too many are the last one's error"),
    (
        {"head"},
        lambda id, flags: id % 2 == 0,
        {"idle"},
        lambda mine, other: mine[2] is Code.PROTOCOL_ERROR,
        "5.1.1: h2 waits for the head's end, or counts the streams first",
    ),
    (
        {"head"},
        lambda id, flags: flags & (PADDED | WITH_PRIORITY),
        ANY,
        _both,
        "6.2: the frame breaks two rules",
    ),
    (
        {"head"},
        lambda id, flags: flags & WITH_PRIORITY,
        ANY,
        lambda mine, other: mine[2] in (Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR) and other[2] is None,
        "5.3.1: that is looked at first; by h2 once the head has ended, and is its stream's",
    ),
    (
        {"data"},
        lambda id, flags: flags & PADDED,
        {"half-closed (remote)", "closed", "left out", "reset by us"},
        lambda mine, other: mine[2] is None and other[2] is Code.PROTOCOL_ERROR,
        "6.1: the frame breaks two rules",
    ),
    (
        {"head"},
        lambda id, flags: flags & PADDED,
        ANY,
        lambda mine, other: mine[2] is None and other[2] is Code.PROTOCOL_ERROR,
        "6.2: padding may fill the frame; the head is empty",
    ),
    ({"head"}, lambda id, flags: not flags & END, {"open"}, _alone(Code.PROTOCOL_ERROR), "8.1: malformed"),
    (
        {"head"},
        ANY,
        {"closed"},
        _ours(Code.STREAM_CLOSED),
        "5.4.1: a head behind the peer's own reset may end the connection",
    ),
    ({"data"}, ANY, {"closed", "left out"}, _alone(Code.STREAM_CLOSED), "6.1: it is the stream's error"),
    (
        {"window"},
        lambda id, more: more & MOST == 0,
        {"open", "half-closed (remote)"},
        _alone(Code.PROTOCOL_ERROR),
        "6.9: it is the stream's error",
    ),
    (
        {"window"},
        lambda id, more: more & MOST == 0,
        {"closed", "left out", "reset by us"},
        lambda mine, other: mine == ([], [], None) and other[2] is Code.PROTOCOL_ERROR,
        "5.1: windows of a stream that is closed are ignored",
    ),
    ({"reset"}, ANY, {"idle"}, _ours(Code.PROTOCOL_ERROR), "6.4: of an idle stream it is an error"),
    ({"long reset"}, lambda id, _: id == 0, {"idle"}, _both, "6.4: the frame breaks two rules"),
    (
        {"long acknowledgement"},
        ANY,
        ANY,
        lambda mine, other: (mine[2], other[2]) == (Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR),
        "6.5: it is a FRAME_SIZE_ERROR",
    ),
]
"""In what they may differ. The sections are RFC 9113's."""


def explained(name, id, more, was, mine, other):
    """Why it may differ; None if it may not."""
    for names, says, states, how, why in DIFFERENCES:
        of = (names is None or name in names) and (states is None or was in states)
        if of and (says is None or says(id, more)) and how(mine, other):
            return why
    return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(a_frame(), min_size=1, max_size=14))
def test_what_a_client_sends_is_read_as_h2_reads_it(steps):
    differs = compare(steps)
    if differs is None:
        event("the same")
        return
    why = explained(*differs)
    assert why is not None, differs
    event(why)


LIVES = {
    "a request and its answer": [("head", 1, 5), ("end", 1)],
    "a body behind the answer": [
        ("head", 1, 4),
        ("end", 1),
        ("data", 1, 0),
        ("data", 1, END),
        ("data", 1, 0),
    ],
    "a reset by the client": [("head", 1, 4), ("rst", 1), ("window", 1, 5), ("rst", 1), ("data", 1, 0)],
    "a body and trailers": [("head", 1, 4), ("data", 1, 0), ("head", 1, 5), ("end", 1), ("window", 1, 1)],
    "windows and settings": [
        *(("head", 1, 5), ("settings", 0, 5), ("window", 1, 100), ("head", 3, 5), ("settings", 0, 70000)),
        *(("window", 0, 70000), ("end", 1), ("settings", 0, 0), ("end", 3)),
    ],
    "three at a time, one after the other": [
        *((what, id, 5)[: 2 + (what == "head")] for id in range(1, 60, 2) for what in ("head", "end")),
    ],
    "bytes behind the end": [("head", 1, 5), ("data", 1, 0)],
    "a head behind the end of both": [("head", 1, 5), ("end", 1), ("head", 1, 5)],
    "a stream opened behind a later one": [("head", 3, 5), ("head", 1, 5)],
    "a window opened too far": [("head", 1, 5), ("window", 1, MOST), ("window", 0, MOST)],
}


@pytest.mark.parametrize("name", LIVES)
def test_lives_of_streams_are_told_as_h2_tells_them(name):
    steps = []
    for what, id, *more in LIVES[name]:
        if what == "settings":
            steps.append((what, id, None, client.settings((4, more[0]))))
        elif what == "end":
            steps.append((what, id, None, b""))
        else:
            make = {"head": lambda id, flags: client.headers(id, flags=flags), "rst": client.rst}
            make |= {"window": client.window, "data": lambda id, flags: client.data(id, b"hello", flags)}
            steps.append((what, id, more[0] if more else None, make[what](id, *more)))
    assert compare(steps) is None


@pytest.mark.parametrize("why", range(len(DIFFERENCES)))
def test_no_difference_explains_what_is_the_same(why):
    """Else it would explain too much."""
    how = DIFFERENCES[why][3]
    for same in (([], [], None), ([("widened",)], [], None), ([], [], Code.STREAM_CLOSED)):
        assert not how(same, same) or how is _both
