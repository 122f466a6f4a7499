"""Tests for L{burrow.http.http2_server.connection}: each rule of RFC 9113 that a server has to keep."""

from itertools import pairwise

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Decoder
from hpack.hpack import encode_integer
from hyperframe.frame import FRAMES
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.http2_server import frames
from burrow.http.http2_server.connection import MAX_GAPS, MAX_PARTS, MAX_RESET, SMALL
from burrow.http.http2_server.frames import LEAST_FRAME, MOST, NUMBERS, PREFACE, Code, Setting, frame
from burrow.http.http2_server.listener import IListener
from tests.http.http2_server.one import (
    ACK,
    END,
    GET,
    HEAD_ENDS,
    PADDED,
    WINDOW,
    WITH_PRIORITY,
    One,
    Recorder,
    block,
    data,
    headers,
    rst,
    settings,
    window,
)

PROTOCOL, SIZE, FLOW = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
CLOSED, CALM, COMPRESSION = Code.STREAM_CLOSED, Code.ENHANCE_YOUR_CALM, Code.COMPRESSION_ERROR


def continuation(id, body=b"", flags=0):
    return frame(frames.CONTINUATION, flags, id, body)


def test_recorder_is_a_listener():
    assert set(IListener.names()) == {name for name in vars(Recorder) if not name.startswith("_")}


def test_numbers_are_those_that_h2_has():
    ours = {code.name: code.value for code in Code}
    assert ours == {code.name: code.value for code in ErrorCodes}
    known = {code.name: code.value for code in SettingCodes}
    assert {code.name: code.value for code in Setting}.items() <= known.items()
    kinds = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY")
    for kind in (*kinds, "WINDOW_UPDATE", "CONTINUATION"):
        assert FRAMES[getattr(frames, kind)].__name__.upper() == kind.replace("_", "") + "FRAME"


# -- how a connection begins ------------------------------------------------------------------------------


def test_our_settings_and_window_are_said_first():
    one = One(begun=False)
    said, opened = one.sent()
    assert said.settings == {3: 5, 4: 100_000, 6: 65536}
    assert (opened.stream_id, opened.window_increment) == (0, WINDOW - 65535)
    assert one.say(PREFACE + settings()) == [("answered",)]
    (acknowledged,) = one.sent()
    assert "ACK" in acknowledged.flags


@pytest.mark.parametrize(
    "begins",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSN",
        b"\0",
        PREFACE + frame(frames.PING, 0, 0, bytes(8)),
        PREFACE + headers(1),
        PREFACE + frame(frames.SETTINGS, ACK, 0),
        PREFACE + frame(0xEE, 0, 0),
    ],
)
def test_what_does_not_begin_as_http2(begins):
    """RFC 9113 section 3.4."""
    assert One(begun=False).fault(begins) is PROTOCOL


# -- what ends the connection -----------------------------------------------------------------------------

OPENED = headers(1, flags=HEAD_ENDS)
FAULTS = {
    # section, what the client sends, code
    "4.1 a stream's reserved bit means nothing, and the rest is a stream's": (
        headers(MOST + 1 | 1) + window(1, MOST) + window(0, MOST),
        FLOW,
    ),
    "4.2 a frame's head that says more than is allowed": (b"\0\x40\1\0\0\0\0\0\1", SIZE),
    "4.3 an index that is not in the table": (frame(frames.HEADERS, 5, 1, b"\xbe"), COMPRESSION),
    "4.3 a head that cannot be decoded": (frame(frames.HEADERS, 5, 1, b"\xc0"), COMPRESSION),
    "4.3 a head that is cut off": (frame(frames.HEADERS, 5, 1, b"\0\x7f"), COMPRESSION),
    "4.3 an index of nothing": (frame(frames.HEADERS, 5, 1, b"\x80"), COMPRESSION),
    "4.3 a table larger than we said": (frame(frames.HEADERS, 5, 1, b"\x3f\xff\xff\x0f"), COMPRESSION),
    "4.3 trailers that cannot be decoded": (OPENED + frame(frames.HEADERS, 5, 1, b"\xc0"), COMPRESSION),
    "5.1 data of a stream that is idle": (data(1), PROTOCOL),
    "5.1 data of a server's stream": (headers(3) + data(2), PROTOCOL),
    "5.1 a reset of a stream that is idle": (headers(1) + rst(3), PROTOCOL),
    "5.1 a window of a stream that is idle": (headers(1) + window(3, 1), PROTOCOL),
    "5.1.1 a head on a server's stream": (headers(2), PROTOCOL),
    "5.1.1 a stream that is opened behind a later one": (headers(5) + headers(3), PROTOCOL),
    "5.1.1 the first stream behind a later one": (headers(5) + headers(1), PROTOCOL),
    "6.1 data of no stream": (data(0), PROTOCOL),
    "6.1 padding as long as the frame": (OPENED + data(1, b"\1", PADDED), PROTOCOL),
    "6.1 padding longer than the frame": (OPENED + data(1, b"\x09abc", PADDED), PROTOCOL),
    "6.1 padding of no length": (OPENED + data(1, b"", PADDED), SIZE),
    "6.2 a head of no stream": (headers(0), PROTOCOL),
    "6.2 padding longer than the head": (frame(frames.HEADERS, 5 | PADDED, 1, b"\x09\x82"), PROTOCOL),
    "6.2 padding of no length before a head": (frame(frames.HEADERS, 5 | PADDED, 1), SIZE),
    "6.2 a head too short for its priority": (frame(frames.HEADERS, 5 | WITH_PRIORITY, 1, bytes(4)), SIZE),
    "6.2 a head whose padding leaves no priority": (
        frame(frames.HEADERS, 5 | WITH_PRIORITY | PADDED, 1, b"\3" + bytes(7)),
        SIZE,
    ),
    "5.3.1 a head that depends on itself": (
        frame(frames.HEADERS, 5 | WITH_PRIORITY, 1, b"\0\0\0\1\0" + block(GET)),
        PROTOCOL,
    ),
    "5.3.1 a stream that depends on itself": (frame(frames.PRIORITY, 0, 3, b"\0\0\0\3\0"), PROTOCOL),
    "5.3.1 and exclusively": (frame(frames.PRIORITY, 0, 3, b"\x80\0\0\3\0"), PROTOCOL),
    "6.3 a priority of no stream": (frame(frames.PRIORITY, 0, 0, b"\0\0\0\1\0"), PROTOCOL),
    "6.3 a priority that is too short": (frame(frames.PRIORITY, 0, 1, bytes(4)), SIZE),
    "6.3 a priority that is too long": (frame(frames.PRIORITY, 0, 1, bytes(6)), SIZE),
    "6.4 a reset of no stream": (rst(0), PROTOCOL),
    "6.4 a reset that is too short": (headers(1) + frame(frames.RST_STREAM, 0, 1, bytes(3)), SIZE),
    "6.4 a reset that is too long": (headers(1) + frame(frames.RST_STREAM, 0, 1, bytes(5)), SIZE),
    "6.5 settings of a stream": (frame(frames.SETTINGS, 0, 1), PROTOCOL),
    "6.5 an acknowledgement of a stream": (frame(frames.SETTINGS, ACK, 1), PROTOCOL),
    "6.5 an acknowledgement that says something": (frame(frames.SETTINGS, ACK, 0, bytes(6)), SIZE),
    "6.5 settings that are cut off": (frame(frames.SETTINGS, 0, 0, bytes(5)), SIZE),
    "6.5.2 a push that is neither yes nor no": (settings((2, 2)), PROTOCOL),
    "6.5.2 a window that is too large": (settings((4, MOST + 1)), FLOW),
    "6.5.2 frames that are too short": (settings((5, LEAST_FRAME - 1)), PROTOCOL),
    "6.5.2 frames that are too long": (settings((5, 2**24)), PROTOCOL),
    "6.5.2 the last of two, and the first is wrong": (settings((5, 1), (5, LEAST_FRAME)), PROTOCOL),
    "RFC 8441 3 a CONNECT that is neither yes nor no": (settings((8, 2)), PROTOCOL),
    "6.6 a push": (frame(frames.PUSH_PROMISE, HEAD_ENDS, 1, b"\0\0\0\2\x82"), PROTOCOL),
    "6.7 a PING of a stream": (frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "6.7 a PING that is too short": (frame(frames.PING, 0, 0, bytes(7)), SIZE),
    "6.7 a PING that is too long": (frame(frames.PING, 0, 0, bytes(9)), SIZE),
    "6.8 a GOAWAY of a stream": (frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "6.8 a GOAWAY that is too short": (frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
    "6.9 the connection's window opened by nothing": (window(0, 0), PROTOCOL),
    "6.9 by nothing but the reserved bit": (window(0, MOST + 1), PROTOCOL),
    "6.9 a window that is too short": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "6.9 a window that is too long": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(5)), SIZE),
    "6.9.1 the connection's window opened too far": (window(0, MOST - 65534), FLOW),
    "6.9.1 a body beyond its stream's window": (OPENED + data(1, bytes(16384)) * 7, FLOW),
    "6.9.1 bodies beyond the connection's window": (
        OPENED
        + headers(3, flags=HEAD_ENDS)
        + data(1, bytes(16384)) * 6
        + data(3, bytes(16384)) * 6
        + headers(5, flags=HEAD_ENDS)
        + data(5, bytes(16384)),
        FLOW,
    ),
    "6.9.2 settings that open a stream's window too far": (
        OPENED + window(1, MOST - 65535) + settings((4, 65536)),
        FLOW,
    ),
    "6.10 a CONTINUATION of nothing": (continuation(1), PROTOCOL),
    "6.10 a CONTINUATION behind a head's end": (OPENED + continuation(1, b"", HEAD_ENDS), PROTOCOL),
    "6.10 a CONTINUATION of another stream": (headers(1, flags=0) + continuation(3), PROTOCOL),
    "6.10 another frame within a head": (headers(1, flags=0) + data(1), PROTOCOL),
    "6.10 an unknown frame within a head": (headers(1, flags=0) + frame(0xEE, 0, 1), PROTOCOL),
    "6.10 settings within a head": (headers(1, flags=0) + settings(), PROTOCOL),
    "6.10 another head within a head": (headers(1, flags=0) + headers(3), PROTOCOL),
    "a head in too many frames": (headers(1, flags=0) + continuation(1) * MAX_PARTS, PROTOCOL),
    "a head that is too long as it comes": (
        headers(1, flags=0) + continuation(1, bytes(16384)) * 4,
        CALM,
    ),
    "a head that is too long once it is decoded": (
        frame(frames.HEADERS, 0x4 | 1, 1, b"\x40\1a\x7f\xa1\x1e" + bytes(4000) + b"\xbe" * 20),
        CALM,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_ends_the_connection(name):
    said, code = FAULTS[name]
    assert One().fault(said) is code


def test_head_of_a_frame_that_is_too_long_is_enough():
    one = One()
    assert one.say(b"\xff\xff\xff\0\0\0\0\0") == []
    assert one.fault(b"\1") is SIZE


def test_goaway_says_the_last_stream_that_was_opened():
    one = One()
    one.say(headers(1), headers(7))
    with pytest.raises(frames.Fault):
        one.say(headers(2))
    (away,) = one.sent()
    assert (away.last_stream_id, away.error_code) == (7, PROTOCOL)


def test_what_comes_before_a_fault_is_told_and_nothing_behind_it():
    one = One()
    one.fault(headers(1), headers(2), headers(3))
    assert [call[:2] for call in one.listener.calls] == [("request", 1)]


# -- what ends a stream alone -----------------------------------------------------------------------------

BREAKS = {
    # what the client sends, stream, code
    "5.1 bytes behind a body's end": (headers(1) + data(1, b"x"), 1, CLOSED),
    "5.1 a head behind a body's end": (headers(1) + headers(1), 1, CLOSED),
    "5.1.2 more streams than allowed": (b"".join(headers(id) for id in (1, 3, 5, 7, 9, 11)), 11, 7),
    "6.9 a window opened by nothing": (headers(1) + window(1, 0), 1, PROTOCOL),
    "6.9.1 a window opened too far": (headers(1) + window(1, MOST - 65534), 1, FLOW),
    "8.1 trailers that do not end the body": (OPENED + headers(1, [(b"x", b"y")], HEAD_ENDS), 1, PROTOCOL),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_ends_a_stream_alone(name):
    said, id, code = BREAKS[name]
    one = One()
    assert one.say(said)[-1] == ("broken", id)
    assert one.resets == [(id, code)]
    assert id not in one.server.streams
    one.server.reset(9, Code.CANCEL)  # to make room
    one.sent()
    # What was on its way by then is dropped, and the others go on.
    late = [data(id, b"late"), headers(id, [(b"x", b"y")]), window(id, 5), rst(id)]
    assert one.say(*late) == []
    assert one.listener.idle == 4
    assert one.sent() == []
    (asked,) = one.say(headers(13))
    assert asked == ("request", 13, GET, True)


def test_table_goes_on_with_heads_that_are_refused():
    """RFC 9113 section 4.3: a head changes it, whatever becomes of its stream."""
    one = One()
    for id in (1, 3, 5, 7, 9):
        one.say(headers(id, encoder=one.encoder))
    one.say(headers(11, [*GET, (b"x-first", b"1")], encoder=one.encoder))  # one too many
    one.server.reset(9, Code.CANCEL)
    assert one.say(headers(9, [(b"x-second", b"2")], encoder=one.encoder)) == []  # late
    one.say(headers(1, [(b"x-third", b"3")], HEAD_ENDS, encoder=one.encoder))  # behind its end
    fields = [*GET, (b"x-first", b"1"), (b"x-second", b"2"), (b"x-third", b"3")]
    assert one.say(headers(13, fields, encoder=one.encoder)) == [("request", 13, fields, True)]


# -- what is no error -------------------------------------------------------------------------------------


def test_request_body_and_trailers():
    one = One()
    assert one.say(headers(1, flags=HEAD_ENDS)) == [("request", 1, GET, False)]
    assert one.say(data(1, b"a"), data(1, b""), data(1, b"b")) == [
        ("data", 1, b"a", 1, False),
        ("data", 1, b"", 0, False),
        ("data", 1, b"b", 1, False),
    ]
    assert one.say(headers(1, [(b"x", b"y")])) == [("trailers", 1, [(b"x", b"y")])]
    assert not one.server.streams[1].receives
    one.answer(1)
    assert one.server.streams == {}


def test_end_of_a_body():
    one = One()
    one.say(headers(1, flags=HEAD_ENDS))
    assert one.say(data(1, b"", END)) == [("data", 1, b"", 0, True)]


def test_padding_counts_and_is_not_told():
    """RFC 9113 sections 6.1 and 6.9.1: it takes of the windows."""
    one = One()
    padded = frame(frames.HEADERS, HEAD_ENDS | PADDED, 1, b"\5" + block(GET) + bytes(5))
    assert one.say(padded) == [("request", 1, GET, False)]
    assert one.say(data(1, b"\3abc" + bytes(3), PADDED)) == [("data", 1, b"abc", 7, False)]
    assert one.say(data(1, b"\3" + bytes(3), PADDED)) == [("data", 1, b"", 4, False)]
    assert one.say(data(1, b"\0abc", PADDED | END)) == [("data", 1, b"abc", 4, True)]
    assert one.server.open == WINDOW - 15


def test_priorities_are_read_and_not_used():
    one = One()
    flags = 5 | WITH_PRIORITY | PADDED
    said = frame(frames.HEADERS, flags, 3, b"\1\0\0\0\1\7" + block(GET) + b"\0")
    assert one.say(said) == [("request", 3, GET, True)]
    assert one.say(frame(frames.PRIORITY, 0, 9, bytes(5))) == []  # of any stream, whatever its state
    assert one.listener.idle == 1


@pytest.mark.parametrize("parts", [2, 3, MAX_PARTS])
def test_head_in_parts(parts):
    one = One()
    whole = block(GET)
    pieces = [whole[:1], *[b""] * (parts - 2), whole[1:]]
    said = [frame(frames.HEADERS, END, 1, pieces[0])]
    said += [continuation(1, piece) for piece in pieces[1:-1]]
    assert one.say(*said) == []
    assert one.say(continuation(1, pieces[-1], HEAD_ENDS | 0xFB)) == [("request", 1, GET, True)]


@pytest.mark.parametrize("limit", [65536, 200_000])
def test_head_may_be_as_long_as_our_settings_say(limit):
    one = One(limits={Setting.MAX_HEADER_LIST_SIZE: limit})
    field = (b"x", b"y" * (limit - 200))
    whole = block(GET) + b"\0\1x\x7f" + encode_integer(limit - 200, 7)[1:] + field[1]
    parts = [whole[at : at + LEAST_FRAME] for at in range(0, len(whole), LEAST_FRAME)]
    one.say(frame(frames.HEADERS, END, 1, parts[0]), *(continuation(1, part) for part in parts[1:]))
    assert one.say(continuation(1, b"", HEAD_ENDS)) == [("request", 1, [*GET, field], True)]


def test_ping_is_answered():
    one = One()
    assert one.say(frame(frames.PING, 0, 0, b"12345678")) == [("answered",)]
    (pong,) = one.sent()
    assert (pong.flags, pong.opaque_data) == ({"ACK"}, b"12345678")
    assert one.say(frame(frames.PING, ACK, 0, b"12345678")) == []
    assert one.listener.idle == 1


def test_settings_are_acknowledged_and_those_that_are_not_known_ignored():
    one = One()
    pairs = [(code, 2**32 - 1) for code in range(0x10, 2000)]
    assert one.say(settings(*pairs, (4, 1234), (2, 0), (3, 0), (6, 1), (8, 1))) == [("answered",)]
    (acknowledged,) = one.sent()
    assert "ACK" in acknowledged.flags
    one.say(headers(1))
    assert one.server.streams[1].window == 1234
    assert one.say(frame(frames.SETTINGS, ACK, 0)) == []


def test_table_of_the_heads_that_are_sent_is_as_the_peer_says():
    one = One()
    one.say(headers(1), headers(3), settings((1, 0), (1, 2**32 - 1)))
    one.sent()
    one.answer(1)
    (head,) = one.sent()
    assert head.data == b"\x20\x3f\xe1\x1f\x88"  # the smallest, and the last as far as we use it
    one.answer(3)
    (head,) = one.sent()
    assert head.data == b"\x88"


def test_types_that_are_not_known_are_ignored():
    one = One()
    said = [frame(kind, 0xFF, id, bytes(20)) for kind in range(10, 256) for id in (0, 1)]
    assert one.say(*said) == []
    assert one.listener.idle == len(said)


def test_flags_that_mean_nothing_are_ignored():
    """RFC 9113 section 4.1."""
    one = One()
    one.say(headers(1, flags=0xC6 & ~PADDED), data(1, b"", 0xF6), frame(frames.PING, 0xFE, 0, bytes(8)))
    one.say(frame(frames.WINDOW_UPDATE, 0xFF, 1, b"\x80\0\0\1"), frame(frames.RST_STREAM, 0xFF, 1, bytes(4)))
    assert [call[0] for call in one.listener.calls] == ["request", "data", "answered", "widened", "reset"]


def test_goaway_is_told():
    one = One()
    one.say(headers(1))
    assert one.say(frame(frames.GOAWAY, 0, 0, NUMBERS.pack(0, 2) + b"why")) == [("leaves", 2)]
    one.answer(1)
    assert [each.stream_id for each in one.sent()] == [1]


def test_peer_that_resets():
    one = One()
    assert one.say(headers(1), rst(1))[-1] == ("reset", 1)
    assert one.server.streams == {}
    assert one.say(rst(1), window(1, 1)) == []
    assert one.listener.idle == 2
    assert one.sent() == []
    assert one.say(data(1, b"x")) == []  # RFC 9113 section 5.1: it must not
    assert one.resets == [(1, CLOSED)]
    one = One()
    one.say(headers(1), rst(1))
    assert one.fault(headers(1)) is CLOSED


def test_streams_that_are_over():
    """RFC 9113 section 5.1, closed: by END_STREAM from both sides."""
    one = One()
    one.say(headers(1))
    one.answer(1)
    one.sent()
    assert one.server.streams == {}
    assert one.say(window(1, 1), rst(1), frame(frames.PRIORITY, 0, 1, bytes(5))) == []
    assert one.listener.idle == 3
    assert one.say(data(1, b"x"), data(1, b"x")) == []
    assert one.resets == [(1, CLOSED)]  # once
    assert one.listener.idle == 5
    assert one.say(data(1, bytes(SMALL))) == []
    assert one.listener.idle == 5  # its window bounds it
    one = One()
    one.say(headers(1))
    one.answer(1)
    assert one.fault(headers(1)) is CLOSED


def test_stream_that_is_answered_before_its_end():
    """Half-closed (local): the body comes still."""
    one = One()
    one.say(headers(1, flags=HEAD_ENDS))
    one.answer(1)
    assert 1 in one.server.streams
    assert one.say(data(1, b"x"), headers(1, [(b"x", b"y")]))[-1][0] == "trailers"
    assert one.server.streams == {}


def test_streams_may_be_left_out():
    one = One()
    one.say(headers(9))
    assert one.say(window(3, 1), rst(5)) == []  # closed, as all below (RFC 9113 section 5.1.1)
    assert one.say(data(1, b"x"), data(7, bytes(SMALL))) == []
    assert one.resets == [(1, CLOSED), (7, CLOSED)]
    assert one.listener.idle == 4  # however long it is: there are a billion of them
    assert one.fault(headers(1)) is PROTOCOL


def test_what_is_known_of_closed_streams_is_bounded():
    one = One()
    for number in range(3000):
        id = 1 + 4 * number
        one.say(headers(id))
        one.server.reset(id, Code.CANCEL)
    one.sent()
    assert len(one.server._reset) == MAX_RESET
    assert len(one.server._gaps) == MAX_GAPS
    assert one.server.streams == {}
    one.say(data(1, b"x"))
    assert one.resets == [(1, CLOSED)]


LATE = {
    # how the stream was closed: what was sent of it, whether we reset it, bytes that may come of it still
    "reset while its body comes": ([headers(1, flags=HEAD_ENDS), data(1, bytes(10_000))], True, 90_000),
    "reset for what is behind its end": ([headers(1), data(1, bytes(10_000))], False, 100_000),
    "reset by the peer": ([headers(1), rst(1), data(1, bytes(10_000))], False, 100_000),
    "left out": ([headers(3), data(1, bytes(10_000))], False, 100_000),
    "one too many": ([headers(id) for id in (3, 5, 7, 9, 11, 13)], False, 100_000),
}


@pytest.mark.parametrize("name", LATE)
def test_late_body_may_be_as_long_as_its_window(name):
    """So much may be on its way as it is reset. More was sent by somebody who does not care."""
    said, by_us, left = LATE[name]
    one = One()
    one.say(*said)
    idle = one.listener.idle
    if by_us:
        one.server.used(1, 10_000)  # less than is told the peer at once
        one.server.reset(1, Code.CANCEL)
    ((id, _),) = one.resets
    while left:
        size = min(left, LEAST_FRAME)
        assert one.say(data(id, bytes(size))) == []
        left -= size
    assert one.listener.idle == idle
    assert one.server.open > WINDOW // 2  # the window of all is not used up
    assert one.say(data(id, b"")) == []
    assert one.fault(data(id, b"x")) is FLOW


# -- windows ----------------------------------------------------------------------------------------------


def test_windows_that_the_peer_opens():
    one = One()
    one.say(headers(1))
    stream = one.server.streams[1]
    assert one.server.room(stream) == LEAST_FRAME
    one.server.send_data(stream, bytes(LEAST_FRAME))
    assert (stream.window, one.server.window) == (65535 - LEAST_FRAME,) * 2
    assert one.say(window(1, 10), window(0, 20)) == [("widened",)] * 2
    assert (stream.window, one.server.window) == (65545 - LEAST_FRAME, 65555 - LEAST_FRAME)
    one.say(window(1, MOST - stream.window), window(0, MOST - one.server.window))
    assert (stream.window, one.server.window) == (MOST, MOST)


def test_settings_change_the_windows_of_streams_alone():
    """RFC 9113 section 6.9.2: even to less than nothing."""
    one = One()
    one.say(headers(1), headers(3))
    one.server.send_data(one.server.streams[1], bytes(1000))
    one.say(settings((4, 500)))
    assert [stream.window for stream in one.server.streams.values()] == [-500, 500]
    assert one.server.window == 64535
    assert one.server.room(one.server.streams[1]) < 0
    one.say(headers(5), window(1, 501))
    assert [stream.window for stream in one.server.streams.values()] == [1, 500, 500]
    one.say(settings((4, 0), (4, 1500)))  # the last counts
    assert [stream.window for stream in one.server.streams.values()] == [1001, 1500, 1500]


def test_windows_may_be_filled():
    one = One()
    one.say(headers(1, flags=HEAD_ENDS), headers(3, flags=HEAD_ENDS))
    for id in (1, 3):
        one.say(*[data(id, bytes(10_000)) for _ in range(10)])
    assert (one.server.open, one.server.streams[1].open) == (0, 0)
    one.say(data(1), data(3, b"", END))


def test_longer_frames_are_sent_if_the_peer_takes_them():
    one = One()
    one.say(headers(1), settings((5, 20_000), (4, 100_000)), window(0, 100_000))
    assert one.server.room(one.server.streams[1]) == 20_000


def test_bytes_that_are_used_are_given_back():
    one = One()
    one.say(headers(1, flags=HEAD_ENDS))
    one.say(*[data(1, bytes(10_000)) for _ in range(9)])
    one.server.used(1, 49_999)
    assert one.sent() == []
    one.server.used(1, 1)
    (given,) = one.sent()
    assert (given.stream_id, given.window_increment) == (1, 50_000)
    one.server.used(1, 40_000)
    one.say(*[data(1, bytes(10_000)) for _ in range(5)])
    one.server.used(1, 50_000)
    given = [(each.stream_id, each.window_increment) for each in one.sent()]
    assert given == [(0, 140_000), (1, 90_000)]
    assert one.server.open == WINDOW


def test_window_that_is_used_up_is_opened_soon():
    """Else a peer would wait for what is less than half of it."""
    one = One(limits={Setting.INITIAL_WINDOW_SIZE: 10_000})
    one.say(headers(1, flags=HEAD_ENDS), data(1, bytes(10_000)))
    one.server.used(1, 1024)
    assert one.sent() == []
    one.server.used(1, 1)
    (given,) = one.sent()
    assert (given.stream_id, given.window_increment) == (1, 1025)


def test_bytes_of_streams_that_are_over_are_given_back_to_the_connection():
    one = One()
    one.say(headers(1, flags=HEAD_ENDS), data(1, bytes(15_000)) + data(1, bytes(15_000)))
    one.server.reset(1, Code.CANCEL)
    one.sent()
    one.say(*[data(1, bytes(14_000)) for _ in range(5)])
    assert one.sent() == []
    one.server.used(1, 30_000)
    (given,) = one.sent()
    assert (given.stream_id, given.window_increment) == (0, 100_000)


@given(st.data())
def test_no_more_comes_or_goes_than_was_granted(chosen):
    """Whatever is used, and whenever windows change: counted here by the frames that pass."""
    one = One(limits={Setting.INITIAL_WINDOW_SIZE: 3000})
    initial, sent_all, granted_all = 65535, 0, 65535
    came = {0: 0, 1: 0, 3: 0}  # what came; what may come:
    may = {0: WINDOW, 1: 3000, 3: 3000}
    sent, granted = {1: 0, 3: 0}, {1: 0, 3: 0}
    one.say(headers(1, flags=HEAD_ENDS), headers(3, flags=HEAD_ENDS))
    unused = {1: 0, 3: 0}
    for _ in range(chosen.draw(st.integers(1, 25))):
        id = chosen.draw(st.sampled_from([1, 3]))
        stream = one.server.streams[id]
        act = chosen.draw(st.sampled_from(["come", "use", "send", "open", "open all", "settings"]))
        size = chosen.draw(st.integers(0, 3000))
        if act == "come":
            size = min(size, may[id] - came[id], may[0] - came[0])
            one.say(data(id, bytes(size)))
            came[id] += size
            came[0] += size
            unused[id] += size
        elif act == "use":
            size = min(size, unused[id])
            one.server.used(id, size)
            unused[id] -= size
        elif act == "send":
            size = min(size, max(one.server.room(stream), 0))
            one.server.send_data(stream, bytes(size))
            sent[id] += size
            sent_all += size
        elif act == "open":
            one.say(window(id, size + 1))
            granted[id] += size + 1
        elif act == "open all":
            one.say(window(0, size + 1))
            granted_all += size + 1
        else:
            initial = size
            one.say(settings((4, size)))
        for each in one.sent():
            if type(each).__name__ == "WindowUpdateFrame":
                may[each.stream_id] += each.window_increment
        assert may[0] - came[0] == one.server.open <= WINDOW
        for id in (1, 3):
            assert may[id] - came[id] == one.server.streams[id].open <= 3000
            assert one.server.streams[id].window == initial + granted[id] - sent[id]
        assert one.server.window == granted_all - sent_all >= 0


# -- what is sent -----------------------------------------------------------------------------------------


def test_long_heads_go_in_parts():
    one = One()
    one.say(headers(1))
    fields = [(b":status", b"200"), *((b"x-%d" % number, b"y" * 3000) for number in range(20))]
    one.server.send_head(one.server.streams[1], one.server.heads.write(fields), end=True)
    first, *others = one.sent()
    assert first.flags == {"END_STREAM"}
    assert [each.flags for each in others] == [set()] * (len(others) - 1) + [{"END_HEADERS"}]
    assert all(len(each.data) <= LEAST_FRAME for each in (first, *others))
    whole = b"".join(each.data for each in (first, *others))
    assert Decoder(10**6).decode(whole, raw=True) == fields
    assert one.server.streams == {}


@pytest.mark.parametrize("size", [10, 300, LEAST_FRAME - 30])
def test_head_that_fits_goes_in_one_frame(size):
    one = One()
    one.say(headers(1))
    fields = [(b":status", b"200"), (b"x", b"y" * size)]
    one.server.send_head(one.server.streams[1], one.server.heads.write(fields))
    (head,) = one.sent()
    assert head.flags == {"END_HEADERS"}
    assert Decoder(10**6).decode(head.data, raw=True) == fields
    one.server.send_data(one.server.streams[1], bytes(size))
    (body,) = one.sent()
    assert (body.flags, body.data) == (set(), bytes(size))


@pytest.mark.parametrize("size", [LEAST_FRAME - 1, LEAST_FRAME, LEAST_FRAME + 1, 2 * LEAST_FRAME])
def test_heads_at_the_length_of_a_frame(size):
    data = frames.head_frames(1, bytes(size), True, LEAST_FRAME)
    one = One()
    one.server._out.append(data)
    got = one.sent()
    assert b"".join(each.data for each in got) == bytes(size)
    assert len(got) == -(-size // LEAST_FRAME)
    assert ["END_HEADERS" in each.flags for each in got] == [False] * (len(got) - 1) + [True]


def test_nothing_is_sent_behind_an_end():
    one = One()
    one.say(headers(1, flags=HEAD_ENDS), headers(3))
    stream = one.server.streams[1]
    one.answer(1)
    one.sent()
    one.server.send_data(stream, b"x")
    one.server.send_head(stream, b"\x88")
    one.server.reset(5, Code.CANCEL)
    assert one.sent() == []
    one.server.close()
    one.sent()
    one.answer(3)
    one.server.reset(3, Code.CANCEL)
    one.server.used(1, 100_000)
    one.server.shut_down()
    one.server.close(Code.CANCEL)
    assert one.sent() == []


def test_two_goaways():
    """RFC 9113 section 6.8: what is opened before the peer has read the first goes on."""
    one = One()
    one.say(headers(1))
    one.server.shut_down()
    assert len(one.say(headers(3))) == 1
    one.server.close()
    assert [each.last_stream_id for each in one.sent()] == [MOST, 3]
    assert one.say(headers(5)) == []


@pytest.mark.parametrize("end", ["close", "stop"])
def test_listener_may_end_the_connection_in_a_call(end):
    one = One()
    one.listener.each = lambda *call: getattr(one.server, end)()
    assert len(one.say(headers(1), headers(3), headers(2))) == 1
    assert one.say(headers(5)) == []


def test_listener_may_reset_a_stream_in_a_call():
    one = One()
    one.listener.each = lambda kind, id, *_: one.server.reset(id, Code.CANCEL)
    assert [call[:2] for call in one.say(headers(1, flags=HEAD_ENDS), data(1, b"x"), headers(3))] == [
        ("request", 1),
        ("request", 3),
    ]
    assert one.server.streams == {}


# -- bytes, split in any way ------------------------------------------------------------------------------

MIXED = [
    PREFACE,
    settings((4, 1000)),
    headers(1, flags=HEAD_ENDS),
    data(1, b"hello"),
    window(0, 5),
    frame(frames.HEADERS, END, 3, block(GET)[:7]),
    continuation(3, block(GET)[7:], HEAD_ENDS),
    frame(0xEE, 0, 0, bytes(30)),
    frame(frames.PING, 0, 0, b"12345678"),
    data(1, b"\1x\0", PADDED),
    headers(1, [(b"x", b"y")]),
    rst(3),
    data(3, b"late"),
    frame(frames.GOAWAY, 0, 0, bytes(8)),
    headers(2),
]


@given(st.lists(st.integers(0, sum(map(len, MIXED))), max_size=12))
def test_any_split_of_the_same_bytes_is_told_alike(cuts):
    def read(pieces):
        one = One(begun=False)
        try:
            for piece in pieces:
                one.say(piece)
        except frames.Fault as fault:
            return one.listener.calls, one.listener.idle, fault.code, one.server.take()
        raise AssertionError("the last frame is a fault")

    whole = b"".join(MIXED)
    places = sorted({0, len(whole), *cuts})
    pieces = [whole[start:end] for start, end in pairwise(places)]
    assert read(pieces) == read([whole])


def test_byte_by_byte():
    one = One(begun=False)
    for frame_bytes in MIXED[:-1]:
        for number in range(len(frame_bytes)):
            one.say(frame_bytes[number : number + 1])
    assert [call[0] for call in one.listener.calls] == [
        *("answered", "request", "data", "widened", "request", "answered", "data", "trailers", "reset"),
        "leaves",
    ]
    assert one.server._buffer == b""
