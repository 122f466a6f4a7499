"""Several processes of one server: a visitor's socket goes to the one that holds the tunnel's session."""

import contextlib
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import TcpUpstream, read_response, reply, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are handed over on Linux alone")

VISITORS = 24


def holder(world, visitor):
    """
    The worker that has the other end of a visitor's connection. One that gave it away may answer later than
    the one that got it, and close its own descriptor of it later still: wait until one alone has it.
    """
    return wait_for(lambda: _holder(world, visitor), "one worker's having the connection")


def _holder(world, visitor):
    """The worker that has it now; None if several have, or none."""
    ours, theirs = (f"{port:04X}" for port in (visitor.getpeername()[1], visitor.getsockname()[1]))
    inode = None
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(":" + ours) and fields[2].endswith(":" + theirs):
                inode = fields[9]
    found = []
    for pid in world.workers:
        with contextlib.suppress(OSError):  # the process ended meanwhile
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):  # it was closed meanwhile
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}") == f"socket:[{inode}]":
                        found.append(pid)
                        break
    return found[0] if len(found) == 1 else None


def agents_worker(world):
    """The worker that has the one agent's connection."""
    port = int(world.server.line(r"is connected from \S*:(\d+)")[1])

    class Agent:
        def getpeername(self):
            return None, world.https if world.tls else world.http

        def getsockname(self):
            return None, port

    return holder(world, Agent())


@pytest.fixture(params=["local", "off"])
def two(make_world, request):
    return make_world(workers="2", **({"tls": "off"} if request.param == "off" else {}))


def ask(visitor, host, path="/", body=b""):
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    visitor.sendall(head.encode() + body)
    return read_response(visitor)


@contextlib.contextmanager
def stopped(pid):
    """The process does nothing meanwhile, so that what comes goes to the other one."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def settled(world, host, worker):
    """Wait until the worker that does not hold the tunnel hands its visitors over: it looks once a second."""

    def handed_over():
        with stopped(worker):
            visitor = socket.create_connection(("127.0.0.1", world.https if world.tls else world.http), 20)
            holder(world, visitor)  # the other worker accepted it
        if world.tls:
            context = ssl.create_default_context(cafile=str(world.ca_file))
            visitor = context.wrap_socket(visitor, server_hostname=host)
        with visitor:
            assert ask(visitor, host)[0] == 200
            return holder(world, visitor) == worker

    wait_for(handed_over, "the hand-over")


def echo(handler):
    reply(handler, handler.path.encode() + b" " + handler.rfile.read(int(handler.headers["Content-Length"])))


def test_every_visitor_is_served_by_the_worker_that_holds_the_tunnel(two, upstream):
    world, host = two, two.agent("http", upstream(echo).port).host
    worker = agents_worker(world)
    assert worker is not None
    settled(world, host, worker)
    visitors = [world.connect(host) for _ in range(VISITORS)]
    for number, visitor in enumerate(visitors):
        body = os.urandom(number * 5000)
        assert ask(visitor, host, f"/{number}", body)[::2] == (200, f"/{number} ".encode() + body)
        assert holder(world, visitor) == worker
        assert ask(visitor, host, "/again", b"x")[2] == b"/again x"
        visitor.close()
    # A head, or a hello, in pieces; and one that asks for nobody, which any worker answers.
    if not world.tls:
        with world.connect(host) as visitor:
            for byte in f"POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc".encode():
                visitor.sendall(bytes([byte]))
            assert read_response(visitor)[2] == b"/a abc"
            assert holder(world, visitor) == worker
        assert world.get("nobody.localhost")[0] == 404
    assert world.get("localhost")[0] == 200


def test_tcp_visitors_too(make_world):
    def upper(connection):
        while data := connection.recv(65536):
            connection.sendall(data.upper())

    world = make_world(workers="2")
    service = TcpUpstream(upper)
    try:
        agent = world.agent("tcp", service.port)
        port = int(agent.url.rpartition(":")[2])
        worker = agents_worker(world)

        def known():
            with socket.create_connection(("127.0.0.1", port), 20) as visitor:
                visitor.sendall(b"hello")
                return visitor.recv(100) == b"HELLO" and holder(world, visitor) == worker

        # Each worker listens on a socket of its own; that the kernel chooses one 32 times is unlikely.
        wait_for(lambda: all(known() for _ in range(32)), "the hand-over")
        for number in range(VISITORS):
            with socket.create_connection(("127.0.0.1", port), 20) as visitor:
                visitor.sendall(b"hello %d" % number)
                assert visitor.recv(100) == b"HELLO %d" % number
                assert holder(world, visitor) == worker
    finally:
        service.close()


def test_the_worker_that_holds_the_tunnel_is_killed(two, upstream):
    """The agent goes to the other, and visitors are handed over to that one."""
    world = two
    host = world.agent("http", upstream(echo).port).host
    worker = agents_worker(world)
    settled(world, host, worker)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(set(world.workers) - {worker}) == 2, "another worker")

    def holders():
        found = set()
        for _ in range(8):
            with contextlib.suppress(OSError), world.connect(host) as visitor:
                if ask(visitor, host, "/a", b"b")[2] == b"/a b":
                    found.add(holder(world, visitor))
        return found

    (other,) = wait_for(lambda: len(found := holders()) == 1 and found, "the hand-over")
    assert other in world.workers
    assert other != worker


def test_what_passes_a_worker_that_stops_taking(make_world, upstream):
    """The worker that holds the tunnel is stopped by a debugger, say: visitors wait, none is lost."""
    world = make_world(workers="2")
    host = world.agent("http", upstream(echo).port).host
    worker = agents_worker(world)
    settled(world, host, worker)
    os.kill(worker, signal.SIGSTOP)
    try:
        visitors = []
        for _ in range(6):
            plain = socket.create_connection(("127.0.0.1", world.https), 20)
            visitors.append(plain)
    finally:
        os.kill(worker, signal.SIGCONT)
    context = ssl.create_default_context(cafile=str(world.ca_file))
    for plain in visitors:
        with context.wrap_socket(plain, server_hostname=host) as visitor:
            assert ask(visitor, host, "/a", b"b")[2] == b"/a b"
