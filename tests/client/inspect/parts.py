"""What the inspector's tests share: records, and an inspector that answers on a transport in memory."""

import json

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.inspect.api import Api
from burrow.client.inspect.replay import Replayer
from burrow.client.inspect.store import Store
from burrow.client.inspect.web import InspectorFactory
from burrow.http.body import ChunkedBody
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record


def record(method="GET", target="/", host="shop.example.com", headers=(), **more):
    """A record that has just begun."""
    fields = [(b"Host", host.encode()), *headers]
    known = {"protocol": "http", "tunnel": "shop", "visitor": "203.0.113.9:4711", "scheme": "https", **more}
    return Record(method=method, target=target, host=host, request_headers=fields, **known)


def pass_through(
    traffic,
    method="GET",
    target="/",
    request=b"",
    response=b"",
    status=200,
    headers=(),
    answer_headers=(),
    **more,
):
    """One request and its answer. @return: its record."""
    made = record(method, target, headers=headers, **more)
    traffic.begun(made)
    made.waited = 0.001
    if request:
        made.received += len(request)
        traffic.body(made, False, request)
    made.status, made.reason, made.response_headers = status, "OK", list(answer_headers)
    traffic.answered(made)
    if response:
        made.sent += len(response)
        traffic.body(made, True, response)
    traffic.ended(made)
    return made


class Answer:
    """An answer, read from bytes."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
        if self.headers.get("transfer-encoding") == "chunked" and self.body:
            body = ChunkedBody()
            self.body, _ = body.feed(self.body)

    @property
    def json(self):
        return json.loads(self.body)


class InspectorCase(SynchronousTestCase):
    """An inspector without a port. @ivar upstreams: of tunnels, by their names."""

    loopback = True
    client = ("TCP", "127.0.0.1", 50000)

    def setUp(self):
        self.clock = Clock()
        self.traffic = Traffic()
        self.store = Store()
        self.store.followed = True
        self.traffic.add(self.store)
        self.upstreams = {}
        self.replayer = Replayer(self.clock, self.traffic, self.store, self.upstreams.get)
        self.api = Api(self.clock, self.store, self.replayer, lambda: {"tunnels": []}, loopback=self.loopback)
        self.factory = InspectorFactory(self.clock, self.api)

    def connect(self):
        """A connection: its transport, whose C{protocol} takes bytes."""
        channel = self.factory.buildProtocol(None)
        transport = StringTransport()
        transport.protocol = channel
        channel.makeConnection(transport)
        return transport

    def send(self, method, path, body=b"", **headers):
        """Send one request: its transport."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"Host": "127.0.0.1:4040", **given}
        lines = [f"{method} {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in fields.items() if v is not None]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        transport = self.connect()
        transport.protocol.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)
        return transport

    def run_turns(self):
        """Let what is written in pieces be written. @return: how many turns that took."""
        turns = 0
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
            turns += 1
        return turns

    def ask(self, method, path, body=b"", **headers):
        """One request, and its answer."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers.setdefault("Content_Type", "application/json")
        transport = self.send(method, path, body, **headers)
        self.run_turns()
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        return Answer(transport.value())

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)
