"""A visitor's HTTP/2 connection and a tunnel, without sockets; the visitor is a client by h2."""

from h2.config import H2Configuration
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived

from burrow.http.http2 import Http2Connection
from burrow.server.edge.http2 import Http2Factory
from tests.server.edge.edges import Exchange, Peer, Wire

HOST = b"t.example.com"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Connection:
    """
    A visitor's connection, to a tunnel whose upstream is the test.

    @param sane: whether names are sent in lower case, and no blanks around values.
    @ivar edge: has the tunnel's streams. @ivar events: what the visitor was told, in order.
    """

    def __init__(self, edge=None, *, sane=True, **settings):
        self.edge = edge or Exchange()
        self.wire = Wire(Peer())
        self.protocol = self.wire.protocol = Http2Factory(self.edge.edge, "https").buildProtocol(None)
        self.protocol.makeConnection(self.wire)
        config = H2Configuration(header_encoding=None, validate_outbound_headers=False)
        config.normalize_outbound_headers = sane
        self.client = Http2Connection(config)  # h2's own takes nothing behind a GOAWAY
        self.client.initiate_connection()
        if settings:
            self.client.update_settings({int(key[1:]): value for key, value in settings.items()})
        self.events = []
        self.pump()

    def pump(self):
        """Carry bytes both ways. @return: what the visitor has been told since."""
        new = []
        while True:
            data, back = self.client.data_to_send(), self.wire.value()
            self.wire.clear()
            if data and not self.wire.disconnecting:
                self.protocol.dataReceived(data)
            elif not back:
                break
            new += self.client.receive_data(back)
        self.events += new
        return new

    def ask(self, stream=1, method=b"GET", path=b"/", *fields, body=None, end=None):
        head = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":path", path),
            (b":authority", HOST),
            *fields,
        ]
        end = body is None if end is None else end
        self.client.send_headers(stream, head, end_stream=end and body is None)
        if body is not None:
            self.client.send_data(stream, body, end_stream=end is not False)
        self.pump()
        return self.upstream()

    def upstream(self, number=-1):
        """What the upstream got on one of its streams."""
        return self.edge.streams[number].value() if self.edge.streams else b""

    def answer(self, data, number=-1):
        self.edge.streams[number].protocol.dataReceived(data)
        return self.pump()

    def of(self, kind, stream=1):
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == stream]

    def status(self, stream=1):
        (response,) = self.of(ResponseReceived, stream)
        return int(dict(response.headers)[b":status"])

    def headers(self, stream=1):
        return dict(self.of(ResponseReceived, stream)[0].headers)

    def body(self, stream=1):
        return b"".join(event.data for event in self.of(DataReceived, stream))

    @property
    def last_streams(self):
        """What each GOAWAY says which stream is the last."""
        return [event.last_stream_id for event in self.events if isinstance(event, ConnectionTerminated)]

    @property
    def code(self):
        """The code of the GOAWAY; None without one."""
        return next(
            (event.error_code for event in self.events if isinstance(event, ConnectionTerminated)), None
        )
