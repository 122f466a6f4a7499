"""
HTTP/1.1 as the edge writes it on a stream, to an upstream that speaks HTTP/2, and its answers back. No I/O.

One connection to the upstream serves one stream of the tunnel, so one request at a time: then the two flow
controls are one, and a visitor who does not read holds up nobody else. What comes from the upstream is read
as carefully as what comes from visitors: an answer becomes one HTTP/1.1 message or none.

An upstream that goes away (GOAWAY) or refuses a request is left, and the stream goes on with another
connection: with the request that the upstream has not read, or with the next one.

Long because the two sides are one state: what of a request is sent, and what of its answer has come.
"""

from __future__ import annotations

from contextlib import suppress

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from wsproto.utilities import generate_accept_token

from burrow.http.body import Body, chunk, last_chunk, request_body
from burrow.http.failure import FAILURE_HEADER
from burrow.http.fields import HOP_BY_HOP, write_head
from burrow.http.head import BadMessage
from burrow.http.headers import Fields
from burrow.http.http2 import Http2Connection
from burrow.http.request_head import MAX_HEAD, RequestHead, RequestReader
from burrow.http.response_head import MAX_RESPONSE_HEAD
from burrow.protocols.http2_answers import read_answer, read_trailers, status_line
from burrow.protocols.upstream import NotHttp2, UpstreamFailed

WINDOW = 256 * 1024
"""Bytes of an answer that the upstream may send ahead of what the stream takes."""

MAX_INTERIM = MAX_RESPONSE_HEAD
"""Bytes of interim answers (1xx), as HTTP/1.1 has them, that may come ahead of what the stream takes."""

MAX_KEPT = 64 * 1024
"""Bytes of a request's body that are kept until its answer begins, to be sent again."""

_FRAME_HEAD = 9

_SETTINGS = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_RESPONSE_HEAD,
}


class _Heads(RequestReader):
    """Reads what the edge wrote: longer than a visitor's head, by what it added."""

    limit = 2 * MAX_HEAD
    max_headers = 1024


class Translator:
    """
    See the module's docstring. After each call, what is to be sent is had by L{take_answer} and
    L{to_upstream}; C{takes}, C{reads}, C{half_closed} and C{over} may have changed.

    @param scheme: of the requests to the upstream: "http" or "https".
    @ivar settled: whether the upstream has spoken HTTP/2.
    @ivar away: whether its connection is to be left. Another is needed once there is a request (C{waits}),
        and is begun by L{connected_again}.
    @ivar over: empty; "closed" once nothing more comes and all was as it should be; "broken" if the message
        under way has no end.
    """

    def __init__(self, scheme: str) -> None:
        self._out = bytearray()
        self.over = ""
        self._scheme = scheme.encode()
        self._begin_connection()
        # The request:
        self._reader = _Heads()
        self._input = b""
        self._head: RequestHead | None = None
        self._head_waits = False
        self._body: Body | None = None  # None once it is whole
        self._unsent = b""
        self._sent = True
        self._trailers_out: Fields = []
        self._kept: bytearray | None = None  # what of the body was sent; None if it cannot be sent again
        self._bodied = False
        # Its answer:
        self._answered = self._chunked = self._bodiless = self._switched = False
        self._held = bytearray()
        self._held_size = 0  # with the padding
        self._interim = 0
        self._due: int | None = None
        self._trailers: Fields = []
        self._came = False
        self._visitor_full = self._visitor_ended = False

    def _begin_connection(self) -> None:
        self.h2 = Http2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.h2.local_settings = Settings(client=True, initial_values=_SETTINGS)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW - 65535)
        self.settled = self.away = self._going = self._upstream_full = False
        self._began = b""
        self._stream = 0

    def connected_again(self) -> None:
        """There is another connection, in the place of the one that was left."""
        self._begin_connection()

    # -- what passes --------------------------------------------------------------------------------------

    @property
    def takes(self) -> bool:
        """Whether more of the visitor's bytes are taken."""
        ready = self.settled or (self.away and self._head is None)
        return ready and not self._unsent and not self._input

    @property
    def waits(self) -> bool:
        """Whether a request waits for another connection."""
        return self.away and self._head_waits and not self.over

    @property
    def reads(self) -> bool:
        """
        Whether more of the upstream's bytes are wanted. They are while the stream takes nothing, since the
        upstream's windows for a request's body are among them, and its own window bounds what else comes; but
        not once there are interim answers, which have no window.
        """
        return not (self._interim and self._visitor_full)

    def to_upstream(self) -> bytes:
        """Frames for the upstream. None for one that is left: what it is told does not matter any more."""
        return b"" if self.away else bytes(self.h2.data_to_send())

    def take_answer(self) -> bytes:
        """Bytes for the stream."""
        if not self._visitor_full:
            self._interim = 0
        out, self._out = self._out, bytearray()
        return bytes(out)

    @property
    def upstream_waits(self) -> bool:
        """Whether the upstream's socket takes no more now."""
        return self._upstream_full

    def visitor(self, data: bytes) -> None:
        """Bytes of the stream's."""
        self._input += data
        self._advance()

    def visitor_ended(self) -> None:
        """No more comes of the stream."""
        self._visitor_ended = True
        self._advance()

    def visitor_full(self, full: bool) -> None:
        """Whether the stream takes no more now."""
        self._visitor_full = full
        if not full:
            self._pass_answer()

    def upstream_full(self, full: bool) -> None:
        """Whether the upstream's socket takes no more now."""
        self._upstream_full = full
        if not full:
            self._advance()

    def upstream(self, data: bytes) -> None:
        """Bytes of the upstream's. @raise NotHttp2: it speaks something else."""
        if not self.settled:
            data = self._began = self._began + data
            if data.startswith(b"HTTP/"):
                raise NotHttp2("speaks HTTP/1.1, not HTTP/2")
            if len(data) < _FRAME_HEAD:
                return
            self._began = b""
        try:
            for event in self.h2.receive_data(data):
                if not self.over and not self.away:
                    self._event(event)
        except (H2Error, BadMessage) as error:
            if not self.settled:
                raise NotHttp2("says what is no HTTP/2") from error
            self._lost(f"What it says is no HTTP/2 that can be passed on: {error}.")

    def upstream_ended(self) -> None:
        """No more comes of the upstream's. @raise NotHttp2: it has never spoken HTTP/2."""
        if self.away:
            return
        if not self.settled:
            raise NotHttp2("closed the connection without a word of HTTP/2")
        if self._came and self._held_size and not self.over:  # the visitor has yet to take the rest
            self._leave()
            return
        if self._head is not None:
            self._lost("It closed the connection before the end of its answer.")
        self.over = self.over or "closed"

    def failed(self, error: UpstreamFailed) -> None:
        """There is no other connection for the request that waits for one."""
        if self._head is not None and not self.over:
            self._refuse(error.public, error.code)

    def cancel(self) -> None:
        """The visitor is gone."""
        self._break(ErrorCodes.CANCEL)

    # -- the request --------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Use what the visitor sent, as far as it can be used now."""
        try:
            while not self.over and self._step():
                pass
        except (BadMessage, H2Error) as error:
            self._lost(f"The request cannot be passed on to it by HTTP/2: {error}.")
        if self._visitor_ended and not self._input and not self.over:
            self._no_more_comes()

    def _step(self) -> bool:
        """@return: whether something was done."""
        if not self.settled and not (self.away and self._head is None):
            return False
        if self._head is None:
            data, self._input = self._input, b""
            found = self._reader.feed(data) if data else None
            if found is None:
                return False
            head, self._input = found
            self._begin(head)
            return True
        if self._head_waits:
            self._head_waits = False
            self._send_head(self._head)
            return True
        if self._unsent or not self._sent:
            return self._send_body()
        if self._body is None or not self._input or (self._head.upgrade and not self._switched):
            return False
        self._unsent, self._input = self._body.feed(self._input)
        if self._body.done:
            self._sent = False
            self._trailers_out = self._body.trailers
            self._body = None
        return True

    def _begin(self, head: RequestHead) -> None:
        """A request's head has come."""
        self._head = head
        self._head_waits, self._tried, self._kept = True, False, bytearray()
        self._answered = self._chunked = self._bodiless = self._came = False
        self._trailers = []
        self._due = None
        self._body = request_body(head)
        self._bodied = self._body is not None

    def _send_head(self, head: RequestHead) -> None:
        fields = [
            (b":method", head.method),
            (b":scheme", self._scheme),
            (b":path", head.target),
            (b":authority", head.authority),
        ]
        headers = head.headers
        if head.upgrade:
            if not self.h2.remote_settings.enable_connect_protocol:
                self._refuse(
                    "It takes no WebSockets over HTTP/2 (RFC 8441). If it speaks HTTP/1.1, write http://."
                )
                return
            fields[0] = (b":method", b"CONNECT")
            fields.insert(1, (b":protocol", b"websocket"))
        left_out = HOP_BY_HOP | ({b"host", b"sec-websocket-key"} if head.upgrade else {b"host"})
        for name, value in headers.fields:
            name = name.lower()
            if name not in left_out:
                fields.append((name, value))
        if head.length:
            fields.append((b"content-length", b"%d" % head.length))
        if b"trailers" in headers.tokens(b"te"):
            fields.append((b"te", b"trailers"))
        self._stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self._stream, fields, end_stream=not self._bodied)

    def _refuse(self, text: str, code: str = "failed") -> None:
        """Answer in the upstream's place, as where it cannot be connected to."""
        body = b"" if self._head is not None and self._head.method == b"HEAD" else text.encode()
        fields = [
            (FAILURE_HEADER, code.encode()),
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
        ]
        self._out += write_head(b"HTTP/1.1 502 Bad Gateway", fields) + body
        self.over = "closed"

    def _send_body(self) -> bool:
        """@return: whether something was sent."""
        if self._upstream_full:
            return False
        h2, stream = self.h2, self._stream
        if self._unsent:
            size = min(len(self._unsent), h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
            if size <= 0:
                return False
            data, self._unsent = self._unsent[:size], self._unsent[size:]
            end = not self._unsent and not self._sent and not self._trailers_out
            h2.send_data(stream, data, end_stream=end)
            if self._kept is not None:
                self._kept += data
                if len(self._kept) > MAX_KEPT:
                    self._kept = None
            self._sent = self._sent or end
            return True
        trailers = [(name.lower(), value) for name, value in self._trailers_out]
        if trailers:
            h2.send_headers(stream, trailers, end_stream=True)
        else:
            h2.end_stream(stream)
        self._sent = True
        return True

    def _no_more_comes(self) -> None:
        """The visitor has closed its half."""
        if self._head is None:
            self.over = "closed"
        elif self._switched and self._body is not None:
            self._body, self._sent, self._trailers_out = None, False, []
            self._advance()
            self._pass_answer()
        elif self._body is not None:
            self._break(ErrorCodes.CANCEL)

    # -- its answer ---------------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self.settled = True
            self._advance()
        elif isinstance(event, WindowUpdated):
            self._advance()
        elif isinstance(event, ConnectionTerminated):
            self._going = True
            if self._head is None:
                self._leave()
            elif (event.last_stream_id or 0) < self._stream:
                self._unread("It went away before it read the request.")
        elif self._head is None or getattr(event, "stream_id", 0) != self._stream:
            if isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, InformationalResponseReceived):
            self._kept = None
            status, fields = read_answer(event.headers)
            if status == 101:
                raise BadMessage(502, "HTTP/2 has no 101 (RFC 9113 section 8.6)")
            head = write_head(status_line(status), fields)
            self._interim += len(head)
            if self._interim > MAX_INTERIM:
                raise BadMessage(502, "more interim answers (1xx) than are taken")
            self._out += head
        elif isinstance(event, ResponseReceived):
            self._answer(event)
        elif isinstance(event, DataReceived):
            if self._visitor_full:
                self._held += event.data
                self._held_size += event.flow_controlled_length
            else:
                self._pass_body(event.data, event.flow_controlled_length)
        elif isinstance(event, TrailersReceived):
            self._trailers = read_trailers(event.headers)
        elif isinstance(event, StreamEnded):
            self._came = True
            self._pass_answer()
        elif isinstance(event, StreamReset) and not self._came:
            if event.error_code == ErrorCodes.REFUSED_STREAM:
                self._unread("It refused the request before it read it.")
            else:
                self._lost(f"It has reset the request (HTTP/2 error {int(event.error_code or 0)}).")

    def _answer(self, event: ResponseReceived) -> None:
        """The head of the final answer."""
        head, self._kept = self._head, None
        assert head is not None
        status, fields = read_answer(event.headers)
        ended = event.stream_ended is not None
        lengths = [pair for pair in fields if pair[0] == b"content-length"]
        if head.upgrade and 200 <= status < 300:
            self._switch(head, fields)
            return
        if head.upgrade:
            self._body, self._sent, self._trailers_out = None, False, []  # no more of it is wanted
            self._unsent = b""
        self._bodiless = head.method == b"HEAD" or status in (204, 304)
        if not self._bodiless:
            self._due = int(lengths[0][1]) if lengths else None
            if ended and self._due:
                raise BadMessage(502, "the answer is shorter than its Content-Length")
            if ended and not lengths:
                fields.append((b"content-length", b"0"))
            elif not ended and (not lengths or b"trailers" in head.headers.tokens(b"te")):
                # Only a chunked body has trailers behind it.
                fields = [pair for pair in fields if pair[0] != b"content-length"]
                fields.append((b"transfer-encoding", b"chunked"))
                self._chunked = True
        self._answered = True
        self._out += write_head(status_line(status), fields)
        if head.upgrade:
            self._advance()

    def _switch(self, head: RequestHead, fields: Fields) -> None:
        """The stream is a WebSocket's (RFC 8441 section 5)."""
        self._switched = self._answered = True
        accept = generate_accept_token(head.headers.value(b"sec-websocket-key"))
        kept = [pair for pair in fields if pair[0] not in (b"content-length", b"sec-websocket-accept")]
        kept += [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-accept", accept),
        ]
        self._out += write_head(status_line(101), kept)
        self._advance()

    def _pass_answer(self) -> None:
        """Pass on what has come of the answer's body, as far as it is taken now."""
        if self._held_size and not self._visitor_full and not self.over:
            data, size = bytes(self._held), self._held_size
            self._held.clear()
            self._held_size = 0
            self._pass_body(data, size)
        if self._came and not self._held_size and self._head is not None and not self.over:
            self._ended()

    def _pass_body(self, data: bytes, size: int) -> None:
        """Pass on some of the answer's body. C{size}: of its frames' window."""
        if self._due is not None:
            self._due -= len(data)
        if data and not self._bodiless:
            self._out += chunk(data) if self._chunked else data
        if size:
            with suppress(H2Error):  # the stream is over: nobody needs its window
                self.h2.acknowledge_received_data(size, self._stream)

    def _ended(self) -> None:
        """The answer is whole."""
        if self._switched:
            if self._body is None and self._sent:
                self.over = "closed"
            elif self.away:
                self._break()
            return
        if self._due:  # h2 does not count where trailers follow
            self._break()
            return
        if self._chunked:
            self._out += last_chunk(self._trailers)
        whole = self._body is None and self._sent and not self._unsent
        if not whole:
            # The upstream has answered, and wants no more of the request: where a next one begins is unknown.
            self._break(ErrorCodes.CANCEL)
            self.over = "closed"
        self._head = None
        if self._visitor_ended:
            self.over = self.over or "closed"
        if self._going and not self.over:
            self._leave()
        self._advance()

    @property
    def half_closed(self) -> bool:
        """Whether a WebSocket's upstream has closed its half alone."""
        return self._switched and self._came and not self._held_size and not self.over

    def _leave(self) -> None:
        """The upstream takes no more requests on this connection."""
        self.away, self.settled = True, False

    def _unread(self, text: str) -> None:
        """
        The upstream has not read the request, so it is sent again, whatever it asks for (RFC 9113 sections
        6.8 and 8.7): once, and if all that was sent of it is here. C{text}: see L{_lost}.
        """
        if self._kept is None or self._tried:
            self._lost(text)
            return
        self._leave()
        self._unsent = bytes(self._kept) + self._unsent
        self._sent = not self._bodied or self._body is not None
        self._head_waits, self._tried, self._kept = True, True, bytearray()

    def _lost(self, text: str) -> None:
        """The upstream fails. C{text}: for the visitor, if no answer has begun."""
        if self._head is not None and not self._answered and not self.over:
            self._refuse(text)
        self._break()

    def _break(self, code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        """There is no way on."""
        if self._head is not None and self._stream:
            with suppress(H2Error):  # it is over, or the connection is
                self.h2.reset_stream(self._stream, code)
        self.over = self.over or "broken"
