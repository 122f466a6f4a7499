"""A server's connection whose client is the test: frames in, calls and frames out."""

import pytest
from hpack import Encoder
from hyperframe.frame import Frame

from burrow.http.http2_server import frames
from burrow.http.http2_server.connection import Http2Server
from burrow.http.http2_server.frames import NUMBER, PREFACE, SETTING, Code, Fault, Setting, frame
from burrow.http.remembered import Memory

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"t")]
SETTINGS = {
    Setting.MAX_CONCURRENT_STREAMS: 5,
    Setting.INITIAL_WINDOW_SIZE: 100_000,
    Setting.MAX_HEADER_LIST_SIZE: 65536,
}
WINDOW = 200_000
ACK, END, HEAD_ENDS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20


class Recorder:
    """
    The listener.

    @ivar calls: what it was told, but for what brings nothing by itself. @ivar idle: how often it was told of
        that. @ivar each: called after each call, if set.
    """

    def __init__(self):
        self.calls = []
        self.idle = 0
        self.each = None

    def _say(self, *call):
        self.calls.append(call)
        if self.each is not None:
            self.each(*call)

    def request(self, stream, meaning, ended):
        self._say("request", stream.id, meaning, ended)

    def data(self, id, data, size, ended):
        self._say("data", id, data, size, ended)

    def trailers(self, id, fields):
        self._say("trailers", id, [tuple(pair) for pair in fields])

    def reset(self, id):
        self._say("reset", id)

    def broken(self, id):
        self._say("broken", id)

    def widened(self):
        self._say("widened")

    def answered(self, size):
        self._say("answered")

    def nothing(self):
        self.idle += 1

    def leaves(self, code):
        self._say("leaves", code)


def mean(fields, ended):
    """Requests mean their fields; those of the method ONCE are not to be remembered."""
    fields = [tuple(pair) for pair in fields]
    return fields, (b":method", b"ONCE") not in fields


def headers(id, fields=GET, flags=HEAD_ENDS | END, encoder=None):
    """A HEADERS frame; without C{encoder} of a table that stays as it is."""
    return frame(frames.HEADERS, flags, id, block(fields) if encoder is None else encoder.encode(fields))


def block(fields):
    """A head that does not change the table: literals without indexing (RFC 7541 section 6.2.2)."""
    out = b""
    for name, value in fields:
        assert max(len(name), len(value)) < 127
        out += b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return out


def data(id, body=b"", flags=0):
    return frame(frames.DATA, flags, id, body)


def window(id, more):
    return frame(frames.WINDOW_UPDATE, 0, id, NUMBER.pack(more))


def rst(id, code=8):
    return frame(frames.RST_STREAM, 0, id, NUMBER.pack(code))


def settings(*pairs):
    return frame(frames.SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in pairs))


class One:
    """The connection, and what it wrote. @param begun: whether preface and SETTINGS have come."""

    def __init__(self, *, begun=True, limits=None, memory=None):
        self.listener = Recorder()
        self.server = Http2Server(
            self.listener, mean, memory or Memory(), {**SETTINGS, **(limits or {})}, WINDOW
        )
        self.server.begin()
        self.encoder = Encoder()
        if begun:
            self.say(PREFACE + settings())
            self.sent()
            self.listener.calls.clear()

    def say(self, *parts):
        """The client sends. @return: what the listener is told."""
        before = len(self.listener.calls)
        self.server.receive(b"".join(parts))
        return self.listener.calls[before:]

    def fault(self, *parts):
        """The client sends what ends the connection. @return: the code, which is said by a GOAWAY, too."""
        with pytest.raises(Fault) as caught:
            self.say(*parts)
        assert self.server.closed
        assert str(caught.value)
        last = self.sent()[-1]
        assert (type(last).__name__, last.error_code) == ("GoAwayFrame", caught.value.code)
        return caught.value.code

    def sent(self):
        """The frames that it wrote since the last call."""
        out, data = [], self.server.take()
        while data:
            each, length = Frame.parse_frame_header(memoryview(data[:9]))
            each.parse_body(memoryview(data[9 : 9 + length]))
            out.append(each)
            data = data[9 + length :]
        return out

    @property
    def resets(self):
        """Streams that it has reset since the last call, and with which code."""
        return [
            (each.stream_id, Code(each.error_code))
            for each in self.sent()
            if type(each).__name__ == "RstStreamFrame"
        ]

    def answer(self, id, *, end=True):
        """A final answer's head."""
        stream = self.server.streams[id]
        self.server.send_head(stream, self.server.heads.write([(b":status", b"200")]), end)
