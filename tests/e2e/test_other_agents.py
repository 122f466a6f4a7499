"""
An agent that is not ours: a WebSocket client, a yamux session over C{burrow.yamux.v1}, and AMP boxes written
by hand, as somebody would in another language, from docs/protocol.md.
"""

import hashlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path

import pytest
import websocket

from burrow.wire.events import DataReceived, StreamOpened
from tests.e2e.harness import PATIENCE, burrow, reply, reply_digest, send_bytes, wait_for
from tests.e2e.relay import Relay
from tests.e2e.test_restart import reload
from tests.programs import build_go, program
from tests.wire.by_id import Yamux


def box(**fields):
    """An AMP box: keys and values behind two-byte lengths, and an empty key at the end."""
    data = b"".join(
        struct.pack("!H", len(part)) + part
        for key, value in fields.items()
        for part in (key.encode(), value.encode())
    )
    return data + b"\0\0"


def unbox(data):
    """The fields of a box, and what is behind it; None while it is not whole."""
    items, position = [], 0
    while position + 2 <= len(data):
        (length,) = struct.unpack_from("!H", data, position)
        position += 2
        if not length and len(items) % 2 == 0:
            return dict(zip(items[::2], items[1::2], strict=True)), data[position:]
        items.append(data[position : position + length].decode())
        position += length
    return None


class OtherAgent:
    """Opens one tunnel, and answers each visitor with what it was told of it."""

    def __init__(self, world, name, token=None, upstream="by hand"):
        self.socket = websocket.create_connection(
            f"wss://localhost:{world.https}/_burrow/agent",
            socket=world.connect("localhost"),
            header=[
                f"Authorization: Bearer {token or world.env['BURROW_TOKEN']}",
                "Burrow-Agent: another-kind",
            ],
            subprotocols=["burrow.yamux.v1"],
            timeout=30,
        )
        assert self.socket.getsubprotocol() == "burrow.yamux.v1"
        self.session = Yamux(client=True)
        self.data, self.answer, self.closed = {}, None, None
        control = self.session.open_stream()
        ask = box(_ask="1", _command="OpenTunnel", kind="http", upstream=upstream, name=name, later="ignored")
        self.session.send_data(control, ask)
        self.flush()
        self.thread = threading.Thread(target=self.run, args=(control,), daemon=True)
        self.thread.start()
        wait_for(lambda: self.answer, "the answer")

    def flush(self):
        while data := self.session.pull(1 << 16):
            self.socket.send_binary(data)

    def run(self, control):
        try:
            while True:
                opcode, message = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    self.closed = struct.unpack("!H", message[:2])[0], message[2:].decode()
                    return
                for event in self.session.receive_data(message):
                    if isinstance(event, StreamOpened):
                        self.data[event.stream_id] = b""
                    elif isinstance(event, DataReceived):
                        self.session.consumed(event.stream_id, len(event.data), time.monotonic())
                        self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                        self.use(event.stream_id, control)
                self.flush()
        except (websocket.WebSocketException, OSError):
            pass

    def use(self, stream_id, control):
        whole = unbox(self.data[stream_id])
        if stream_id == control:
            if whole:
                self.answer = whole[0]
        elif whole and b"\r\n\r\n" in whole[1]:
            head, request = whole
            body = f"{head['tunnel']} {head['scheme']} {request.split(b' ')[1].decode()}".encode()
            self.session.send_data(
                stream_id, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            self.data[stream_id] = self.data[stream_id][: -len(request)]

    def cut(self):
        """End the connection without a good-bye."""
        self.socket.sock.shutdown(socket.SHUT_RDWR)
        # Closed when nobody reads it any more: the next connection gets the same number, and lost bytes.
        self.thread.join(30)
        self.socket.shutdown()


def test_agent_in_another_language(world):
    agent = OtherAgent(world, "foreign")
    assert agent.answer == {
        "_answer": "1",
        "tunnel": "foreign",
        "name": "foreign",
        "url": f"https://foreign.localhost:{world.https}",
    }
    for number in range(3):
        assert world.get("foreign.localhost", f"/{number}")[2] == f"foreign https /{number}".encode()
    agent.cut()


def test_what_an_agent_says_moves_no_terminal(world):
    """Neither in the log, nor in what the commands show."""
    agent = OtherAgent(world, "sly", upstream="up\x1b[2J\r\n2026-01-01T00:00:00+0000 error fake\x9b1m")
    agent.cut()
    state = world.folder / "state"
    wait_for(lambda: r"up\x1b[2J" in shown("events", state), "the event")
    world.server.line(r"up\\x1b\[2J")
    for text in (shown("events", state), shown("names", state, "list"), world.server.output):
        assert r"for up\x1b[2J\r\n2026" in text or r"up\x1b[2J\r\n2026" in text
        assert not {"\x1b", "\x9b"} & set(text)
        assert not any(line.startswith("2026-01-01T00:00:00+0000 error") for line in text.splitlines())


def shown(command, state, *arguments):
    program = burrow(command, *arguments, "--state", state)
    assert program.wait() == 0
    return program.output


def test_revoked_token_closes_the_session_with_a_word(world):
    agent = OtherAgent(world, "revoked-too", world.token("foreign"))
    assert world.get("revoked-too.localhost", "/before")[0] == 200
    revoke = burrow("token", "revoke", "foreign", "--state", world.folder / "state")
    assert revoke.wait() == 0
    agent.thread.join(15)
    why = "the token 'foreign' was revoked: ask the server's owner for another"
    assert agent.closed == (4001, why)
    assert world.get("revoked-too.localhost")[0] == 503


def test_visitor_waits_for_an_agent_that_cannot_resume(world):
    agent = OtherAgent(world, "foreign-too")
    agent.cut()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(world.get("foreign-too.localhost", "/waited")))
    waiting.start()
    successor = OtherAgent(world, "foreign-too")
    waiting.join(PATIENCE)
    assert answers[0][::2] == (200, b"foreign-too https /waited")
    successor.cut()


# -- the agents of docs/examples, written from docs/protocol.md alone ---------------------------------------

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def go_agent(tmp_path_factory):
    return build_go(EXAMPLES / "agent-go", tmp_path_factory.mktemp("go"))


@pytest.fixture(params=["go", "node"])
def start_example(request, world, tmp_path):
    """Starts the agent of one language; by way of a relay if one is given."""

    def start(port, name, relay=None, kind="http"):
        if request.param == "go":
            command = [request.getfixturevalue("go_agent")]
        else:
            command = [program("node"), EXAMPLES / "agent-node" / "agent.js"]
        server = f"https://localhost:{relay.port if relay else world.https}"
        upstream = f"localhost:{port}" if request.param == "go" else port
        env = {
            "BURROW_TOKEN": world.env["BURROW_TOKEN"],
            "BURROW_CA_FILE": str(world.ca_file),
            "NODE_EXTRA_CA_CERTS": str(world.ca_file),
        }
        started = world.program(*command, server, kind, name, upstream, env=env)
        started.line("://")
        return started

    return start


def serve_all(handler):
    """Answers with a path, a large body, the digest of a body, or a piece of one."""
    if handler.path == "/large":
        send_bytes(handler, LARGE, b"0123456789abcdef" * 4096)
    elif handler.path == "/digest":
        reply_digest(handler)
    elif handler.path == "/broken":
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True
    else:
        reply(handler, handler.path.encode())


LARGE = 30 * 2**20


def test_examples_are_short():
    for name in ("agent-go/main.go", "agent-node/agent.js"):
        assert len((EXAMPLES / name).read_text().splitlines()) < 180


def test_example_serves_http(world, upstream, start_example, request):
    name = f"sample-{request.node.callspec.params['start_example']}"
    service = upstream(serve_all)
    started = start_example(service.port, name)
    host = f"{name}.localhost"
    assert world.get(host, "/small")[2] == b"/small"
    status, _, body = world.get(host, "/large", timeout=120)
    assert (status, len(body)) == (200, LARGE)
    assert body == b"0123456789abcdef" * (LARGE // 16)
    sent = os.urandom(5 * 2**20)
    digest = world.get(host, "/digest", "POST", sent, timeout=120)[2]
    assert digest.decode() == hashlib.sha256(sent).hexdigest()
    with pytest.raises(IncompleteRead):
        world.get(host, "/broken")
    with ThreadPoolExecutor(50) as pool:
        paths = [f"/{number}" for number in range(50)]
        assert list(pool.map(lambda path: world.get(host, path)[2].decode(), paths)) == paths
    service.close()
    status, _, body = world.get(host, accept="application/json")
    code = "upstream-refused" if name == "sample-go" else "upstream-failed"  # which resets the stream
    assert (status, json.loads(body)["error"]) == (502, code)
    started.kill(signal.SIGTERM)
    started.wait()
    assert world.get(host)[0] == 503


ECHO = """
import sys
from twisted.internet import reactor
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, binary):
        self.sendMessage(payload, binary)

factory = WebSocketServerFactory()
factory.protocol = Echo
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
print("port", port.getHost().port, flush=True)
reactor.run()
"""


def test_example_carries_a_websocket(world, start_example, request):
    port = int(world.program(sys.executable, "-c", ECHO).line("port ([0-9]+)")[1])
    name = f"socket-{request.node.callspec.params['start_example']}"
    start_example(port, name)
    connection = websocket.create_connection(
        f"wss://{name}.localhost:{world.https}/", socket=world.connect(f"{name}.localhost"), timeout=30
    )
    for size in (5, 500, 100_000):
        sent = os.urandom(size)
        connection.send_binary(sent)
        assert connection.recv() == sent
    connection.close()


def test_example_comes_back(world, upstream, start_example, request):
    relay = Relay(world.https)
    name = f"back-{request.node.callspec.params['start_example']}"
    try:
        start_example(upstream(serve_all).port, name, relay)
        assert world.get(f"{name}.localhost", "/before")[2] == b"/before"
        relay.cut()
        assert world.get(f"{name}.localhost", "/after")[2] == b"/after"
    finally:
        relay.close()


def test_example_outlives_cuts_a_reload_and_its_server(world, upstream, start_example, request):
    """What docs/protocol.md has under "What to test"."""
    begun, gate = threading.Event(), threading.Event()

    def serve(handler):
        if handler.path != "/half":
            reply(handler, handler.path.encode())
            return
        handler.send_response(200)
        handler.send_header("Content-Length", "2000000")
        handler.end_headers()
        handler.wfile.write(bytes(1_000_000))
        begun.set()
        gate.wait(PATIENCE)
        handler.wfile.write(bytes(1_000_000))

    relay = Relay(world.https)
    name = f"steady-{request.node.callspec.params['start_example']}"
    host = f"{name}.localhost"
    service = upstream(serve)
    try:
        first = start_example(service.port, name, relay)
        for number in range(10):
            relay.cut()
            assert world.get(host, f"/cut{number}")[2] == f"/cut{number}".encode()
        with ThreadPoolExecutor(1) as pool:
            download = pool.submit(world.get, host, "/half")
            assert begun.wait(PATIENCE)
            before = relay.connections
            reload(world)
            wait_for(lambda: relay.connections > before, "the session with the new process")
            assert world.get(host, "/reloaded")[2] == b"/reloaded"
            gate.set()
            assert download.result()[2] == bytes(2_000_000)
        world.server.kill(signal.SIGKILL)
        world.server.wait()
        world.start_server()
        assert world.get(host, "/restarted")[2] == b"/restarted"
        # Another that opens the same name ends the first, and does not fight with it.
        second = start_example(service.port, name)
        assert first.wait() != 0
        assert world.get(host, "/second")[2] == b"/second"
        assert second.process.poll() is None
    finally:
        gate.set()
        relay.close()


def test_example_passes_half_closes_on(world, tcp_upstream, start_example, request):
    def count(connection):
        whole = b""
        while data := connection.recv(65536):
            whole += data
        connection.sendall(hashlib.sha256(whole).hexdigest().encode())

    name = f"port-{request.node.callspec.params['start_example']}"
    started = start_example(tcp_upstream(count).port, name, kind="tcp")
    port = int(started.line(r"tcp://[^ ]*:(\d+)")[1])
    sent = os.urandom(3 * 2**20)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as visitor:
        visitor.sendall(sent)
        visitor.shutdown(socket.SHUT_WR)
        with visitor.makefile("rb") as answer:
            assert answer.read().decode() == hashlib.sha256(sent).hexdigest()
