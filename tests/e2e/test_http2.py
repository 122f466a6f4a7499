"""HTTP/2 from visitors, by a real client: see docs/http2.md."""

import hashlib
import socket
import subprocess
import threading

import pytest
from h2.errors import ErrorCodes
from h2.events import StreamEnded, StreamReset
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.browser import chromium
from tests.e2e.harness import PATIENCE, TcpUpstream, reply, reply_digest, send_bytes, wait_for
from tests.e2e.http2_client import Http2Client
from tests.e2e.test_restart import reload
from tests.programs import program


def own_host(world):
    return world.env["BURROW_SERVER"].split("//")[1].split(":")[0]


def curl(world, host, path, *options):
    """What was answered, and the version of HTTP."""
    command = [
        program("curl"),
        "-sS",
        "--http2",
        "--cacert",
        world.ca_file,
        "-w",
        "\n%{http_version} %{http_code}",
    ]
    command += ["--resolve", f"{host}:{world.https}:127.0.0.1", f"https://{host}:{world.https}{path}"]
    done = subprocess.run([*map(str, command), *map(str, options)], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    body, _, told = done.stdout.rpartition(b"\n")
    return body, told.decode()


def test_requests_bodies_and_pages(world, upstream, tmp_path):
    agent = world.agent(
        "http", upstream(lambda handler: reply(handler, handler.headers["Via"].encode())).port
    )
    body, told = curl(world, agent.host, "/")
    assert told == "2 200"
    assert body.startswith(b"2.0 ")
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 40_000)
    digests = world.agent("http", upstream(reply_digest).port)
    body, told = curl(world, digests.host, "/", "-T", sent)
    assert (body.decode(), told) == (hashlib.sha256(sent.read_bytes()).hexdigest(), "2 200")
    large = world.agent("http", upstream(lambda handler: send_bytes(handler, 10 << 20, b"x" * 65536)).port)
    body, told = curl(world, large.host, "/")
    assert (len(body), told) == (10 << 20, "2 200")
    assert curl(world, f"nobody.{own_host(world)}", "/", "-k")[1] == "2 404"


def test_requests_that_overlap_over_a_reload_are_answered_and_the_next_ones_are_the_new_processes(
    make_world, upstream
):
    world = make_world()
    asked, go_on = [], threading.Event()

    def answer(request):
        asked.append(request.path)
        go_on.wait(PATIENCE)
        reply(request, request.path.encode())

    agent = world.agent("http", upstream(answer).port)
    before = world.workers
    with Http2Client(world, agent.host) as client:
        streams = [client.ask("/1")]
        wait_for(lambda: asked == ["/1"], "the request at the service")
        reload(world)
        wait_for(lambda: "draining:" in world.server.output, "the end's beginning")
        streams.append(client.ask("/2"))
        client.until(lambda: client.code is not None)
        wait_for(lambda: asked == ["/1", "/2"], "both requests at the service")
        go_on.set()
        assert [client.answer(stream)[2] for stream in streams] == [b"/1", b"/2"]
        assert client.end() == ErrorCodes.NO_ERROR
    wait_for(lambda: not set(before) & set(world.workers), "the old process's end")
    assert world.get(agent.host, "/3")[2] == b"/3"


def test_the_servers_own_host_speaks_http_1(world):
    assert curl(world, own_host(world), "/_burrow/health")[1].startswith("1.1 ")


def test_server_that_was_told_to_speak_http_1_alone(make_world, upstream):
    world = make_world(no_http2=True)
    agent = world.agent("http", upstream(lambda handler: reply(handler, b"page")).port)
    assert curl(world, agent.host, "/") == (b"page", "1.1 200")


@pytest.mark.parametrize(("options", "answer"), [({}, b"HTTP/1.1 505 "), ({"http2": True}, b"\0\0")])
def test_plain_port_takes_http_2_if_that_is_asked_for(make_world, options, answer):
    world = make_world(tls="off", **options)
    with socket.create_connection((world.address, world.http), PATIENCE) as visitor:
        visitor.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
        assert visitor.recv(len(answer), socket.MSG_WAITALL) == answer


def test_requests_count_for_their_address_beside_connections(make_world, upstream):
    world = make_world(max_connections_per_address="3", uncounted_address=["10.0.0.0/8"])
    go_on = threading.Event()

    def answer(request):
        go_on.wait(PATIENCE)
        reply(request, b"page")

    agent = world.agent("http", upstream(answer).port)
    agent.ready()
    with Http2Client(world, agent.host) as client:
        streams = [client.ask() for _ in range(5)]
        client.until(lambda: all(client.of(StreamReset, stream) for stream in streams[3:]))
        refused = [client.of(StreamReset, stream)[0].error_code for stream in streams[3:]]
        assert refused == [ErrorCodes.REFUSED_STREAM] * 2
        go_on.set()
        assert [client.answer(stream)[2] for stream in streams[:3]] == [b"page"] * 3
        assert client.answer(client.ask())[2] == b"page"
    world.server.line("has 3 connections open, or requests of HTTP/2 under way")


# -- WebSockets over HTTP/2 (RFC 8441) -----------------------------------------------------------------------


def greet_and_echo(connection):
    """A WebSocket's server, by wsproto: it says by which HTTP it was asked, and echoes what comes."""
    server = WSConnection(ConnectionType.SERVER)
    data = connection.recv(65536)
    if b"websocket" not in data.lower():
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage")
        return
    while True:
        server.receive_data(data or None)
        for event in server.events():
            if isinstance(event, Request) and event.target == "/refused":
                connection.sendall(server.send(RejectConnection(status_code=403)))
                return
            if isinstance(event, Request):
                via = dict(event.extra_headers).get(b"via", b"").decode()
                chosen = next(iter(event.subprotocols), None)
                connection.sendall(server.send(AcceptConnection(subprotocol=chosen)))
                connection.sendall(server.send(TextMessage(via)))
            elif isinstance(event, Message):
                echo = type(event)(event.data, message_finished=event.message_finished)
                connection.sendall(server.send(echo))
            elif isinstance(event, CloseConnection):
                if server.state is not ConnectionState.CLOSED:
                    connection.sendall(server.send(event.response()))
                return
        data = connection.recv(65536)


@pytest.fixture(scope="module")
def sockets(world):
    service = TcpUpstream(greet_and_echo)
    yield world.agent("http", service.port, "--name", "sockets")
    service.close()


class WebSocket:
    """A WebSocket on a stream of an HTTP/2 connection, its frames by wsproto."""

    def __init__(self, client, *fields, path="/"):
        self.client = client
        self.stream = client.connection.get_next_available_stream_id()
        more = [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13"), *fields]
        head = client.head(path, b"CONNECT", *more)
        client.connection.send_headers(self.stream, head)
        client.flush()
        self.status = int(client.headers(self.stream)[b":status"])
        self._frames = Connection(ConnectionType.CLIENT)
        self._read = 0

    def send(self, event):
        data = self._frames.send(event)
        while data:
            size = min(len(data), self.client.connection.local_flow_control_window(self.stream), 16384)
            if not size:
                self.client.read()
                continue
            self.client.connection.send_data(self.stream, data[:size])
            self.client.flush()
            data = data[size:]

    def receive(self):
        """The next message, or the event that ended it."""
        message = []
        while True:
            for event in self._frames.events():
                if not isinstance(event, Message):
                    return event
                message.append(event.data)
                if event.message_finished:
                    return type(event.data)().join(message)
            self.client.until(lambda: len(self.client.body(self.stream)) > self._read)
            body = self.client.body(self.stream)
            self._frames.receive_data(body[self._read :])
            self._read = len(body)


def test_websocket_over_http_2(world, sockets):
    with Http2Client(world, sockets.host) as client:
        one = WebSocket(client, (b"sec-websocket-protocol", b"chat"))
        assert one.status == 200
        assert client.headers(one.stream)[b"sec-websocket-protocol"] == b"chat"
        assert one.receive().startswith("2.0 ")
        other = WebSocket(client)
        other.receive()
        for each, text in ((one, "one"), (other, "other")):
            each.send(TextMessage(text))
        assert (other.receive(), one.receive()) == ("other", "one")
        large = bytes(range(256)) * 8000
        one.send(BytesMessage(large))
        assert one.receive() == large
        assert client.answer(client.ask())[2] == b"page"  # a request beside them
        one.send(CloseConnection(1000))
        assert isinstance(one.receive(), CloseConnection)
        client.until(lambda: client.of(StreamEnded, one.stream))
        refused = WebSocket(client, path="/refused")
        assert refused.status == 403
        client.connection.reset_stream(other.stream)
        client.flush()
        assert WebSocket(client).status == 200


def test_websocket_of_a_real_browser_goes_over_http_2(world, sockets):
    flags = ("--ignore-certificate-errors", "--host-resolver-rules=MAP *.localhost 127.0.0.1")
    with chromium(*flags) as browser:
        browser.set_script_timeout(60)
        # A page of the tunnel's, by HTTP/2: the WebSocket then is a stream of that connection.
        browser.get(f"https://{sockets.host}:{world.https}/")
        assert browser.find_element("tag name", "body").text == "page"
        said = browser.execute_async_script(
            """
            const done = arguments[arguments.length - 1], came = []
            const socket = new WebSocket(`wss://${location.host}/`)
            socket.onmessage = event => {
                came.push(event.data)
                if (came.length === 1) socket.send('hello')
                else socket.close(1000)
            }
            socket.onerror = () => came.push('error')
            socket.onclose = event => done([...came, event.code])
            """
        )
    assert said[1:] == ["hello", 1000]
    assert said[0].startswith("2.0 ")
