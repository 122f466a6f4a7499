"""What SIGTERM ends, and what it lets end: servers, agents, both in one process, with and without twistd."""

import os
import signal
import socket
import sys
import threading
import time

import pytest

from tests.e2e.harness import PATIENCE, TcpUpstream, burrow, free_port, read_response, reply, wait_for

SOON = 10
"""Seconds that a stop takes at most when nothing is to be finished, on a busy machine."""


BEGUN = []
"""The path of each request that came to an upstream, and "tcp" for each L{HOLD}."""

GO = threading.Event()
"""What an upstream has begun ends when this is set: by the test, or at its end."""

HOLD = b"hold"
"""What the TCP service sends back only then."""


@pytest.fixture(autouse=True)
def _nothing_is_held_afterwards():
    GO.clear()
    yield
    GO.set()


def answer(handler):
    """GET /slow answers with a piece, and with the other four at L{GO}; /late answers then."""
    BEGUN.append(handler.path)
    if handler.path == "/slow":
        handler.send_response(200)
        handler.send_header("Content-Length", "50")
        handler.end_headers()
        for number in range(5):
            handler.wfile.write(b"0123456789")
            handler.wfile.flush()
            if number == 0:
                GO.wait(PATIENCE)
    elif handler.path == "/late":
        GO.wait(PATIENCE)
        reply(handler, b"late")
    elif handler.path in ("/socket", "/events"):
        switched = handler.path == "/socket"
        handler.send_response(101 if switched else 200)
        handler.send_header("Content-Type", "text/event-stream")
        if switched:
            handler.send_header("Upgrade", "websocket")
            handler.send_header("Connection", "Upgrade")
        handler.end_headers()
        handler.wfile.write(b"hello")
        handler.wfile.flush()
        handler.rfile.read(1)
    else:
        reply(handler, b"hello")


class Download:
    """A visitor whose request is at the upstream."""

    def __init__(self, world, host, path="/slow"):
        self.status, self.body, self.error = None, b"", None
        before = len(BEGUN)
        self._visitor = world.connect(host)
        self._visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        wait_for(lambda: path in BEGUN[before:], "the request at the upstream")

    def _read(self):
        try:
            self.status, _, self.body = read_response(self._visitor)
        except Exception as error:
            self.error = error

    def result(self):
        self._thread.join()
        self._visitor.close()
        return self.error or (self.status, self.body)


def idle_visitors(world, host, port):
    """Connections that are merely open: kept after an answer, a WebSocket, an event stream, TCP."""
    kept = world.http_connection(host)
    kept.request("GET", "/")
    assert kept.getresponse().read() == b"hello"
    visitors = [kept.sock]
    for path in ("/socket", "/events"):
        visitor = world.connect(host)
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n" if path == "/socket" else ""
        visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n".encode())
        received = b""
        while b"hello" not in received:
            received += visitor.recv(4096)
        visitors.append(visitor)
    tcp = socket.create_connection(("127.0.0.1", port), 10)
    tcp.sendall(b"ping")
    assert tcp.recv(10) == b"ping"
    return [*visitors, tcp]


@pytest.fixture
def echo():
    def serve(connection):
        while data := connection.recv(99):
            if data == HOLD:
                BEGUN.append("tcp")
                GO.wait(PATIENCE)
            connection.sendall(data)

    service = TcpUpstream(serve)
    yield service
    service.close()


@pytest.fixture
def config(tmp_path, upstream, echo):
    """An agent's file with two tunnels."""
    file = tmp_path / "agent.toml"
    file.write_text(
        f"[tunnels.web]\nupstream = {upstream(answer).port}\n"
        f'[tunnels.echo]\nkind = "tcp"\nupstream = {echo.port}\n'
    )
    return file


def start(world, config):
    agent = world.agent("start", "--config", config)
    port = next(event["url"] for event in agent.ready(2) if event["kind"] == "tcp").rpartition(":")[2]
    return agent, int(port)


def stopped_within(program, seconds, number=signal.SIGTERM):
    """Ask a program to stop; its exit code must be 0."""
    begun = time.monotonic()
    program.kill(number)
    assert program.wait() == 0, program.output
    assert time.monotonic() - begun < seconds, program.output
    assert "Traceback" not in program.output, program.output


@pytest.mark.parametrize("who", ["agent", "server"])
def test_what_runs_may_end_and_nothing_new_begins(make_world, config, who):
    world = make_world()
    agent, port = start(world, config)
    program = agent.program if who == "agent" else world.server
    moving = [Download(world, "web.localhost"), Download(world, "web.localhost", "/late")]
    before = len(BEGUN)
    tcp = socket.create_connection(("127.0.0.1", port), PATIENCE)
    tcp.sendall(HOLD)  # whoever waits for an answer is not idle, however long it takes
    wait_for(lambda: "tcp" in BEGUN[before:], "the bytes at the upstream")
    program.kill(signal.SIGTERM)
    turned_away(world)
    if who == "agent":
        assert world.get("web.localhost")[0] == 503
    else:
        with pytest.raises(ConnectionError):
            world.get("web.localhost")
    wait_for(lambda: not connects(port), "the end of the TCP port")
    assert program.process.poll() is None
    GO.set()
    for data in (HOLD, b"1", b"2"):
        if data != HOLD:
            tcp.sendall(data)
        assert tcp.recv(10) == data
    assert [each.result() for each in moving] == [(200, b"0123456789" * 5), (200, b"late")]
    tcp.close()
    assert program.wait() == 0
    assert "Traceback" not in program.output


@pytest.mark.parametrize("who", ["agent", "server"])
def test_what_is_merely_open_holds_nothing_up(make_world, config, who):
    world = make_world()
    agent, port = start(world, config)
    visitors = idle_visitors(world, "web.localhost", port)
    time.sleep(2.5)
    stopped_within(agent.program if who == "agent" else world.server, SOON)
    for visitor in visitors:
        visitor.close()


@pytest.mark.alone
@pytest.mark.parametrize("who", ["agent", "server"])
def test_second_signal_ends_now_and_so_does_the_end_of_the_grace(make_world, config, who):
    world = make_world(stop_grace="1")
    agent, _ = start(world, config)
    program = agent.program if who == "agent" else world.server
    late = Download(world, "web.localhost", "/late")
    program.kill(signal.SIGTERM)
    turned_away(world)
    time.sleep(0.3)  # two signals that it sees within a moment count as one
    begun = time.monotonic()
    program.kill(signal.SIGTERM)
    assert program.wait() == 0
    assert time.monotonic() - begun < 10
    assert late.result() != (200, b"late")
    assert "Traceback" not in program.output, program.output
    if who == "server":
        world.start_server()
        wait_for(lambda: _status(world) == 200, "the agent")
        late = Download(world, "web.localhost", "/late")
        begun = time.monotonic()
        world.server.kill(signal.SIGTERM)
        assert world.server.wait() == 0
        assert 0.9 < time.monotonic() - begun < 15  # a slow machine's own time is in it
        assert late.result() != (200, b"late")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_that_replaced_a_killed_one_stops_at_once(make_world, config, workers):
    world = make_world(workers=workers)
    start(world, config)
    for pid in world.workers:
        os.kill(pid, signal.SIGKILL)
    world.server.kill()
    world.server.wait()
    world.start_server()
    wait_for(lambda: _status(world) == 200, "the agent")
    stopped_within(world.server, SOON)


def test_two_signals_at_once_are_one(make_world, config):
    """As timeout(1) sends them."""
    world = make_world()
    agent, _ = start(world, config)
    late = Download(world, "web.localhost", "/late")
    for _ in range(2):
        agent.program.kill(signal.SIGTERM)
    turned_away(world)
    GO.set()
    assert late.result() == (200, b"late")
    assert agent.program.wait() == 0
    for _ in range(2):
        world.server.kill(signal.SIGTERM)
    assert world.server.wait() == 0
    assert "Traceback" not in agent.program.output + world.server.output


def test_two_workers_finish_what_passes_through_both(make_world, config):
    world = make_world(workers="2")
    start(world, config)
    downloads = [Download(world, "web.localhost") for _ in range(8)]
    world.server.kill(signal.SIGTERM)
    turned_away(world)
    GO.set()
    assert [download.result() for download in downloads] == [(200, b"0123456789" * 5)] * 8
    assert world.server.wait() == 0
    assert "Traceback" not in world.server.output


def test_up_finishes_what_runs(tmp_path, upstream, make_world):
    port = free_port()
    program = burrow(
        "up",
        upstream(answer).port,
        "--name",
        "web",
        "--state",
        tmp_path,
        "--https",
        f"127.0.0.1:{port}",
        "--json",
    )
    program.line('"ready"')
    world = make_world(domain="localhost")
    world.https, world.ca_file = port, tmp_path / "ca.pem"
    download = Download(world, "web.localhost")
    program.kill(signal.SIGINT)
    turned_away(world)
    GO.set()
    assert download.result() == (200, b"0123456789" * 5)
    assert program.wait() == 0
    assert "Traceback" not in program.output


def test_twistd_finishes_what_runs(make_world, config, tmp_path):
    world = make_world()
    run = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
    agent = world.program(*run, "burrow-client", "--config", config, env=world.env)
    wait_for(lambda: _status(world) == 200, "the agent")
    download = Download(world, "web.localhost")
    agent.kill(signal.SIGTERM)
    turned_away(world)
    GO.set()
    assert download.result() == (200, b"0123456789" * 5)
    assert agent.wait() == 0
    assert "Traceback" not in agent.output, agent.output
    world.server.stop()
    GO.clear()
    listen = [f"--https=127.0.0.1:{world.https}", "--http=off", f"--state={world.folder}/state"]
    server = world.program(*run, "burrow-server", *listen, f"--tcp-ports={world.ports}")
    agent = world.program(*run, "burrow-client", "--config", config, env=world.env)
    wait_for(lambda: _status(world) == 200, "the agent")
    download = Download(world, "web.localhost")
    server.kill(signal.SIGTERM)
    turned_away(world)
    GO.set()
    assert download.result() == (200, b"0123456789" * 5)
    assert server.wait() == 0
    assert "Traceback" not in server.output, server.output


def turned_away(world):
    """Wait until a program that was asked to stop takes no visitor any more: it saw the signal."""
    wait_for(lambda: _status(world) in (0, 503), "the stop")


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionError:
        return False
    return True


def _status(world):
    try:
        return world.get("web.localhost")[0]
    except OSError:
        return 0
