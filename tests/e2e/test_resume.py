"""What runs through a tunnel outlives the connections of its agent: cut, silent, restarted."""

import hashlib
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from tests.e2e.harness import (
    Program,
    memory,
    read_response,
    reply_digest,
    send_bytes,
    wait_for,
)
from tests.e2e.relay import Relay, cutting
from tests.e2e.sshd import start_sshd
from tests.e2e.test_apps import postgres  # noqa: F401 - a fixture
from tests.programs import program

SIZE = 200 * 1024**2
BLOCK = bytes(random.Random(7).randbytes(1024**2))


@pytest.fixture
def relay(world):
    """A relay that the agents of this test connect through."""
    relay = Relay(world.https)
    before = world.env["BURROW_SERVER"]
    world.env["BURROW_SERVER"] = f"https://localhost:{relay.port}"
    yield relay
    world.env["BURROW_SERVER"] = before
    relay.close()


def serve(handler):
    """GET /N sends N bytes; POST reads a body and answers with its digest."""
    if handler.command == "POST":
        reply_digest(handler)
    else:
        send_bytes(handler, int(handler.path.strip("/") or 5), BLOCK)


def test_download_with_50_cuts(world, relay, upstream):
    agent = world.agent("http", upstream(serve).port)
    connection = world.http_connection(agent.host, 60)
    connection.request("GET", f"/{SIZE}")
    response = connection.getresponse()
    got = [0]
    thread, done = cutting(relay, lambda: got[0], SIZE, 50)
    position = 0
    while piece := response.read(1 << 18):
        start = position % len(BLOCK)
        expected = BLOCK[start : start + len(piece)]
        expected += BLOCK[: len(piece) - len(expected)]
        assert piece == expected
        position += len(piece)
        got[0] = position
    thread.join(10)
    assert (position, len(done)) == (SIZE, 50)
    assert relay.connections > 15  # the faster bytes come, the more cuts fall into one reconnect


def test_upload_with_50_cuts(world, relay, upstream):
    agent = world.agent("http", upstream(serve).port)
    connection = world.http_connection(agent.host, 60)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(SIZE))
    connection.endheaders()
    sent = [0]
    thread, done = cutting(relay, lambda: sent[0], SIZE, 50)
    digest = hashlib.sha256()
    for _ in range(SIZE // len(BLOCK)):
        for start in range(0, len(BLOCK), 1 << 18):
            connection.send(BLOCK[start : start + (1 << 18)])
            sent[0] += 1 << 18
        digest.update(BLOCK)
    assert connection.getresponse().read().decode() == digest.hexdigest()
    thread.join(10)
    assert len(done) == 50


def test_websocket_like_session_with_cuts_both_ways_at_once(world, relay, tcp_upstream):
    def echo(connection):
        while data := connection.recv(65536):
            connection.sendall(data)

    agent = world.agent("tcp", tcp_upstream(echo).port)
    import socket

    with socket.create_connection(("127.0.0.1", int(agent.url.rpartition(":")[2])), 30) as visitor:
        for number in range(300):
            if number % 10 == 0:
                relay.cut()
            message = b"%06d" % number * 100
            visitor.sendall(message)
            got = b""
            while len(got) < len(message):
                got += visitor.recv(65536)
            assert got == message


def test_postgresql_transaction_with_10_cuts(world, relay, postgres):  # noqa: F811
    agent = world.agent("tcp", postgres)
    port = agent.url.rpartition(":")[2]
    psql = [program("psql"), "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt"]
    session = Program(*psql, stdin=subprocess.PIPE)

    def ask(sql):
        before = len(session.lines)
        session.process.stdin.write(sql + "\n")
        session.process.stdin.flush()
        wait_for(lambda: len(session.lines) > before, "the answer")
        return session.lines[before]

    try:
        assert ask("BEGIN; CREATE TABLE resumed (n int); SELECT 'begun';") == "begun"
        for number in range(10):
            relay.cut()
            assert ask(f"INSERT INTO resumed VALUES ({number}) RETURNING n;") == str(number)
        relay.cut()
        assert ask("COMMIT; SELECT count(*) FROM resumed;") == "10"
    finally:
        session.process.stdin.close()
        session.stop()


def test_ssh_session_with_10_cuts(world, relay, tmp_path):
    """A shell that counts, over ssh, its sshd behind the tunnel."""
    port, options = start_sshd(world, tmp_path)
    agent = world.agent("tcp", port)
    client = Program(
        program("ssh"),
        *("-p", agent.url.rpartition(":")[2], *options),
        "127.0.0.1",
        "while read line; do echo got $line; done",
        stdin=subprocess.PIPE,
    )
    try:
        for number in range(100):
            if number % 10 == 5:
                relay.cut()
            client.process.stdin.write(f"{number}\n")
            client.process.stdin.flush()
            client.line(f"^got {number}$")
        client.process.stdin.close()
        assert client.wait() == 0
        assert client.lines == [f"got {number}" for number in range(100)]
    finally:
        client.stop()


class Poller:
    """A visitor that asks every 50 ms, and how long each answer took."""

    def __init__(self, world, host):
        self.world, self.host = world, host
        self.failures, self.times = [], []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._end.wait(0.05):
            started = time.monotonic()
            try:
                status = self.world.get(self.host)[0]
            except OSError as error:
                status = error
            self.times.append(time.monotonic() - started)
            if status != 200:
                self.failures.append(status)

    def stop(self):
        self._end.set()
        self._thread.join()


def test_visitor_polls_through_cuts_and_silence_and_no_request_fails(world, relay, upstream):
    agent = world.agent("http", upstream(serve).port)
    poller = Poller(world, agent.host)
    wait_for(lambda: len(poller.times) > 5)
    for _ in range(5):
        relay.cut()
        after = len(poller.times)
        wait_for(lambda after=after: len(poller.times) > after + 5)
    assert max(poller.times) < 4
    relay.silence()
    after = len(poller.times)
    wait_for(lambda: len(poller.times) > after + 5)
    poller.stop()
    assert poller.failures == []
    assert max(poller.times) < 15


def interrupted_download(world, agent, interrupt):
    """Read half of a download, let something happen, read the rest: it is what was sent."""
    connection = world.http_connection(agent.host, 60)
    connection.request("GET", f"/{SIZE}")
    response = connection.getresponse()
    digest, expected = hashlib.sha256(), hashlib.sha256()
    digest.update(response.read(SIZE // 2))
    interrupt()
    digest.update(response.read())
    for _ in range(SIZE // len(BLOCK)):
        expected.update(BLOCK)
    assert digest.digest() == expected.digest()


def test_download_goes_on_when_the_connection_falls_silent(world, relay, upstream):
    interrupted_download(world, world.agent("http", upstream(serve).port), relay.silence)
    assert relay.connections == 2


def test_download_goes_on_when_the_server_stalls(world, relay, upstream):
    """The agent dials anew meanwhile; when the server goes on, both connections are alive."""

    def stall():
        (worker,) = world.workers
        os.kill(worker, signal.SIGSTOP)
        time.sleep(5)
        os.kill(worker, signal.SIGCONT)

    interrupted_download(world, world.agent("http", upstream(serve).port), stall)


def test_detached_session_holds_bounded_memory(world, relay, upstream):
    """The upstream goes on sending while nothing can pass."""
    agent = world.agent("http", upstream(serve).port)
    world.get(agent.host)
    before = memory(agent.program.process.pid)
    connection = world.http_connection(agent.host, 60)
    connection.request("GET", f"/{SIZE}")
    response = connection.getresponse()
    response.read(1000)
    relay.silence()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert memory(agent.program.process.pid) - before < 60 * 1024**2
        time.sleep(0.1)
    assert len(response.read()) == SIZE - 1000


def test_agent_restarted_answers_those_who_waited(world, upstream):
    service = upstream(serve)
    first = world.agent("http", service.port, "--name", "waited-for")
    first.ready()
    first.program.kill()
    first.program.wait()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(world.get("waited-for.localhost")[0]))
    waiting.start()
    world.agent("http", service.port, "--name", "waited-for").ready()
    waiting.join(10)
    assert answers == [200]


@pytest.mark.alone
def test_visitors_wait_for_agents_of_a_restarted_server(make_world, upstream):
    world = make_world()
    agent = world.agent("http", upstream(serve).port)
    host = agent.host
    world.server.kill()
    world.server.wait()
    world.start_server()
    started = time.monotonic()
    assert world.get(host)[0] == 200
    assert time.monotonic() - started < 5


@pytest.mark.alone
def test_waiting_ends(make_world, upstream):
    world = make_world(hold="0.5", grace="1")
    agent = world.agent("http", upstream(serve).port)
    host = agent.host
    with world.connect(host) as visitor:
        agent.program.kill()
        agent.program.wait()
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        status, headers, _ = read_response(visitor)
    assert (status, bool(headers["Retry-After"])) == (503, True)
    world.server.line("is closed")
    times = []
    for _ in range(3):
        started = time.monotonic()
        assert world.get(host)[0] == 503
        times.append(time.monotonic() - started)
    # Nobody waits for one that is not expected any more; a machine that stalls once is no wait.
    assert min(times) < 0.4
