"""A visitor that speaks HTTP/2 by h2 over a socket, one frame at a time if a test wants that."""

import contextlib
import socket
import ssl

from h2.config import H2Configuration
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from burrow.http.http2 import Http2Connection
from tests.e2e.harness import PATIENCE


class Http2Client:
    """
    One connection.

    @ivar connection: of h2, but for what comes behind a GOAWAY, which h2 refuses.
    @ivar events: all that came, in order.
    """

    def __init__(self, world, host, *, tls=True):
        self.scheme = b"https" if tls else b"http"
        self.host = host
        plain = socket.create_connection((world.address, world.https if tls else world.http), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=str(world.ca_file))
            context.set_alpn_protocols(["h2"])
            plain = context.wrap_socket(plain, server_hostname=host)
            assert plain.selected_alpn_protocol() == "h2"
        self.socket = plain
        self.connection = Http2Connection(
            H2Configuration(header_encoding=None, validate_outbound_headers=False)
        )
        self.connection.initiate_connection()
        self.events = []
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def flush(self):
        """Send what is ready."""
        data = self.connection.data_to_send()
        if data:
            self.socket.sendall(data)

    def head(self, path="/", method=b"GET", *fields):
        """The fields of a request."""
        return [
            (b":method", method),
            (b":scheme", self.scheme),
            (b":path", path.encode()),
            (b":authority", self.host.encode()),
            *fields,
        ]

    def ask(self, path="/", method=b"GET", *fields, body=None):
        """Send a request. @return: its stream."""
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, self.head(path, method, *fields), end_stream=body is None)
        if body is not None:
            self.connection.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def read(self, *, acknowledge=True):
        """Wait for more, and return what it brought: events. None at the connection's end."""
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self.socket.recv(65536)
        if not data:
            return None
        events = self.connection.receive_data(data)
        for event in events:
            if acknowledge and isinstance(event, DataReceived) and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        self.events += events
        return events

    def until(self, condition, **options):
        """Read until C{condition()} is true; an AssertionError at the connection's end."""
        while not condition():
            assert self.read(**options) is not None, self.events

    def of(self, kind, stream):
        """The events of a kind that a stream had."""
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == stream]

    def body(self, stream):
        """What of a body has come."""
        return b"".join(event.data for event in self.of(DataReceived, stream))

    def headers(self, stream):
        """The fields of an answer, once it has come."""
        self.until(lambda: self.of(ResponseReceived, stream) or self.of(StreamReset, stream))
        (response,) = self.of(ResponseReceived, stream)
        return dict(response.headers)

    def answer(self, stream):
        """Status, fields, body and trailers, once they are whole."""
        headers = self.headers(stream)
        self.until(lambda: self.of(StreamEnded, stream))
        trailers = [pair for event in self.of(TrailersReceived, stream) for pair in event.headers]
        return int(headers[b":status"]), headers, self.body(stream), dict(trailers)

    def end(self):
        """Read to the connection's end. @return: the code of its GOAWAY; None without one."""
        while self.read() is not None:
            pass
        return self.code

    @property
    def code(self):
        """The code of the GOAWAY that came."""
        codes = [event.error_code for event in self.events if isinstance(event, ConnectionTerminated)]
        return codes[0] if codes else None
