"""One node with its admin API, without a reactor or a socket; its answers are compared with the document."""

import json
import re

from jsonschema import Draft202012Validator
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock, StringTransport

from burrow.http.request_head import RequestReader
from burrow.link.accept import Handshake
from burrow.protocols.http import HttpProtocol
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import Side, kind_option, read_options, sent_options
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.udp.kind import UdpProtocol
from burrow.server.admin import API_PATH
from burrow.server.admin.openapi import document
from burrow.server.admin.service import Admin
from burrow.server.agents import Agents
from burrow.server.channel import Asked
from burrow.server.config import ServerConfig
from burrow.server.edge.sweep import Sweep
from burrow.server.nodes.arrivals import _Streams
from burrow.server.nodes.asking import Questions
from burrow.server.nodes.records import Node
from burrow.server.ports import Ports
from burrow.server.public import make_edge
from burrow.store.memory import MemoryStore
from burrow.store.tokens import make_token
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair
from tests.server.parts import Parts


class WordsKind(TunnelKind):
    """A third party's kind, with an option of each sort."""

    name = "words"
    summary = "a TCP port, and count words"
    options = (
        PORT,
        kind_option("least", "letters of a word", 3, parse=int, number=True, least=1, most=40),
        kind_option("mode", "how they are counted", "all", choices=("all", "once")),
        kind_option("skip", "a word that does not count", many=True),
        kind_option("loud", "tell all", False, side=Side.BOTH),
        kind_option("key", "who may ask", secret=True),
        kind_option("file", "a list of words", side=Side.AGENT),
    )


KINDS = {each.name: each for each in (HttpProtocol(), TcpProtocol(), UdpProtocol(), WordsKind())}
DOCUMENT = document(KINDS)


def validator(schema):
    """Validates by a schema of the document."""
    return Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


class Answer:
    """What came back. @ivar body: what its JSON says; or its text."""

    def __init__(self, data, head_only=False):
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if self.headers.get("transfer-encoding") == "chunked":
            body = b"".join(piece for _, piece in chunks(body))
        length = len(body) if head_only else int(self.headers.get("content-length", len(body)))
        assert len(body) == length or head_only, (length, body)
        self.text = body.decode()
        self.media = self.headers.get("content-type", "").partition(";")[0]
        self.body = json.loads(body) if self.media.endswith("json") and body else self.text

    @property
    def events(self):
        """Of a live answer: the type, id and data of each event."""
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(
                line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and line
            )
            if fields:
                found.append((fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"])))
        return found


def chunks(data):
    """The pieces of a chunked body."""
    while data:
        size, _, data = data.partition(b"\r\n")
        yield size, data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


def operation_of(method, path):
    """The operation of the document that a request is for, and None for a path that there is not."""
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return operations.get("get" if method == "HEAD" else method.lower())
    return None


def check(method, path, answer):
    """@raise AssertionError: the document does not say that this may be the answer."""
    operation = operation_of(method, path)
    if answer.status >= 400:
        assert answer.media == "application/problem+json", (answer.status, answer.media)
    if operation is None:
        assert method == "OPTIONS" or answer.status in (404, 405, 413), (method, path, answer.status)
        if answer.text and method != "HEAD":
            validator({"$ref": "#/components/schemas/Problem"}).validate(answer.body)
        return
    response = operation["responses"][str(answer.status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if method == "HEAD" or answer.status in (204, 304):
        assert answer.text == ""
        return
    schema = response["content"][answer.media]["schema"]
    if answer.media == "text/event-stream":
        name = (
            response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2].removesuffix("List")
        )
        for kind, _, data in answer.events:
            if not kind:
                validator({"$ref": f"#/components/schemas/{name}"}).validate(data)
        return
    validator(schema).validate(answer.body)


class Connection:
    """A connection to the API, as the edge hands it over."""

    def __init__(self, node, data, address):
        head, _ = RequestReader().feed(data)
        self.head_only = head.method == b"HEAD"
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", address, 5))
        self.channel = node.web.build(head, self.transport.getPeer())
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(data)

    @property
    def answer(self):
        """What came so far."""
        return Answer(self.transport.value(), self.head_only)


class ApiNode:
    """
    A node called "node1" with tokens of each role.

    @ivar texts: the tokens' texts, by their names: "ann", "bob" (agents), "eve" (viewer), "boss" (admin).
    """

    def __init__(self, **options):
        self.reactor = MemoryReactorClock()
        self.store = MemoryStore(self.reactor.seconds)
        self.texts, self.tokens = {}, {}
        for name, role in (("ann", "agent"), ("bob", "agent"), ("eve", "viewer"), ("boss", "admin")):
            self.add_token(name, role)
        ports = Ports(self, "127.0.0.1", range(20_000, 20_003))
        parts = Parts(
            self.reactor, self.store, KINDS, ports, ready=lambda host, token: succeed(None), max_tunnels=2000
        )
        self.parts, self.cluster, self.tunnels, self.events = (
            parts,
            parts.cluster,
            parts.tunnels,
            parts.events,
        )
        self.cluster.node = Node("node1", "127.0.0.1", 1, "secret", "", "1.0", 1.0)
        self.config = config = ServerConfig(domain="example.com", tls="off", **options)
        sweep = Sweep(self.reactor)
        self.edge = make_edge(config, parts.routes.of_host, lambda head: None, sweep)
        self.agents = Agents(
            self.reactor, self.store, parts.opening, parts.tunnels, parts.routes, self.cluster, parts.events
        )
        self.links = {}
        self.questions = Questions(self.reactor, "node1", self._session_with, lambda: self.cluster.others)
        self.drained = 0
        self.admin = Admin(
            self.reactor,
            config,
            self.store,
            self.questions,
            cluster=self.cluster,
            links=parts.links,
            tunnels=self.tunnels,
            agents=self.agents,
            edge=self.edge,
            ports=ports,
            events=self.events,
            certificates=None,
            drain=self.drain,
        )
        self.back = Recorders(HalfCloseRecorder)
        self.admin.serve(self.edge, self.back)
        self.web = self.admin._web

    async def drain(self):
        self.drained += 1

    def _session_with(self, node):
        return self.links[node].agent if node in self.links else None

    def link(self, node, version="1.0"):
        """
        A link to another node, called C{node}, which knows no question.

        @return: its L{Questions}.
        """
        other = Questions(self.reactor, node, lambda node: None, list)
        streams = _Streams(None, None, Factory(), other.asked)
        self.links[node] = SessionPair(clock=self.reactor, server_factory=streams)
        self.cluster.members.others[node] = Node(node, "127.0.0.1", 2, "s", "", version, 1.0)
        return other

    def add_token(self, name, role):
        self.texts[name], self.tokens[name] = make_token(name, role, 1.0)
        self.store.add_token(self.tokens[name])

    # The sockets of the ports.

    def listen(self, port, factory, interface, *, shared):
        return self.reactor.listenTCP(port, factory, interface=interface)

    def closed(self, port):
        pass

    def open(self, owner, *names, kind="http", **options):
        """An agent with a session and these tunnels. C{options}: of the kind, as a person gives them."""
        options = {key.replace("_", "-"): value for key, value in options.items()}
        read = read_options(KINDS[kind].options, options)
        sent = json.dumps(sent_options(KINDS[kind].options, read, bytes(16)))
        pair = SessionPair(clock=self.reactor, agent_factory=Factory())
        handshake = Handshake(self.texts[owner], f"agent-of-{owner}", "1.2", "192.0.2.7:5")
        before = set(self.agents.connected)
        self.agents.begin(pair.server, None, self.tokens[owner], handshake)
        (agent,) = self.agents.connected - before
        for name in names:
            opening = Deferred.fromCoroutine(agent.open(Asked(kind, "localhost:3000", name, sent)))
            assert opening.called
            failed = []
            opening.addErrback(failed.append)
            if failed:
                failed[0].raiseException()
        return agent, pair

    # -- asking ---------------------------------------------------------------------------------------------

    def connect(
        self,
        method,
        path,
        who="boss",
        *,
        address="192.0.2.9",
        body=None,
        headers=(),
        host=b"example.com",
        behind=b"",
    ):
        """Ask, and go on listening. C{who}: a name of L{texts}, a token's text, or None."""
        fields = [b"Host: " + host, *headers]
        if who is not None:
            fields.append(f"Authorization: Bearer {self.texts.get(who, who)}".encode())
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            fields.append(b"Content-Length: %d" % len(data))
            if not any(field.lower().startswith(b"content-type") for field in fields):
                fields.append(b"Content-Type: application/json")
        target = f"{API_PATH}{path}".encode()
        head = b"\r\n".join([b"%b %b HTTP/1.1" % (method.encode(), target), *fields])
        return Connection(self, head + b"\r\n\r\n" + data + behind, address)

    def ask(self, method, path, who="boss", **more):
        """Ask. @return: the L{Answer}, which is as the document says."""
        connection = self.connect(method, path, who, **more)
        for link in self.links.values():
            link.pump()
        if not connection.transport.value():
            self.reactor.advance(0)
        answer = connection.answer
        check(method, path.partition("?")[0], answer)
        return answer
