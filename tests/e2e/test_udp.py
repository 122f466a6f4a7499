"""UDP tunnels: datagrams stay datagrams, by real sockets and processes."""

import contextlib
import os
import random
import signal
import socket
import threading
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness import reply, wait_for


class UdpUpstream:
    """A service: answers each datagram by what C{answer} makes of it and its sender."""

    def __init__(self, answer, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.sources = set()
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                datagram, source = self.socket.recvfrom(65_535)
            except OSError:
                return
            if datagram == b"stop the service":
                return
            self.sources.add(source)
            for each in self._answer(datagram):
                with contextlib.suppress(OSError):
                    self.socket.sendto(each, source)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"stop the service", ("127.0.0.1", self.port))
        self._thread.join(10)
        self.socket.close()


@pytest.fixture
def echo():
    service = UdpUpstream(lambda datagram: [datagram])
    yield service
    service.close()


class Visitor:
    """A socket that is connected to a tunnel's public port, or to the port of C{burrow connect}."""

    def __init__(self, url):
        assert url.startswith(("udp://localhost:", "udp://127.0.0.1:"))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", urlsplit(url).port))

    def ask(self, datagram, patience=0.5):
        """Send it until an answer comes, as programs over UDP do; None if none comes in time."""
        self.socket.settimeout(patience)
        with contextlib.suppress(OSError):
            self.socket.send(datagram)
            return self.socket.recv(65_535)
        return None

    def wait(self, datagram, wanted=None):
        """
        An answer, or one alone, however often it has to be asked for. Where that was more than once, answers
        to the others come yet.
        """
        return wait_for(lambda: (got := self.ask(datagram)) and wanted in (None, got) and got, "an answer")

    def drain(self):
        """Take what is there."""
        self.socket.settimeout(0.2)
        with contextlib.suppress(OSError):
            while self.socket.recv(65_535) is not None:
                pass

    def has_all_sizes_echoed(self):
        """Check that an echo gives datagrams of all sizes back, the empty one included."""
        self.wait(b"hello")
        self.drain()
        for size in (1, 2, 508, 1472, 1473, 8192, 8193, 16_384, 65_000, 65_507):
            datagram = os.urandom(size)
            assert wait_for(lambda each=datagram: self.ask(each, 5) == each, f"{size} bytes back")
            self.drain()
        self.socket.settimeout(5)
        self.socket.send(b"")
        assert self.socket.recv(10) == b""  # the loopback loses none that is alone


def test_sizes(world, echo):
    Visitor(world.agent("udp", echo.port).url).has_all_sizes_echoed()


def test_three_players(world, echo):
    """Each has a port of its own at the upstream, and gets its own answers, in the order of its questions."""
    agent = world.agent("udp", echo.port)
    players = [Visitor(agent.url) for _ in range(3)]
    for player in players:
        player.wait(b"join")
    for player in players:
        player.drain()
    for turn in range(50):
        for number in random.sample(range(3), 3):
            text = b"%d %d" % (number, turn)
            got = players[number].ask(text, 5)
            while got == b"join":  # a machine that stalled had it asked for again
                got = players[number].socket.recv(100)
            assert got == text
    assert len(echo.sources) == 3


def test_nothing_listens_and_then_something_does(world):
    first = UdpUpstream(lambda datagram: [b"first " + datagram])
    visitor = Visitor(world.agent("udp", first.port).url)
    assert visitor.wait(b"x") == b"first x"
    first.close()
    visitor.drain()
    for _ in range(3):
        assert visitor.ask(b"nobody", 0.2) in (None, b"first x")
    second = UdpUpstream(lambda datagram: [b"second " + datagram], first.port)
    try:
        assert visitor.wait(b"y", b"second y")
    finally:
        second.close()


def test_a_silent_visitor_is_forgotten(world, echo):
    visitor = Visitor(world.agent("udp", echo.port, "--idle", "0.5").url)
    visitor.wait(b"hello")
    before = set(echo.sources)

    def new_source():
        threading.Event().wait(1)  # silent for longer than --idle
        visitor.wait(b"again")
        return echo.sources - before

    wait_for(new_source, "a new source at the upstream")


def test_server_and_agent_come_back(make_world, echo):
    world = make_world()
    agent = world.agent("udp", echo.port)
    visitor = Visitor(agent.url)
    visitor.wait(b"hello")
    world.server.kill(signal.SIGKILL)
    world.server.wait()
    world.start_server()
    assert visitor.wait(b"hello again", b"hello again")


def test_http_and_udp_at_once(world, echo, upstream, tmp_path):
    """One agent, one connection to the server; a flood on one tunnel leaves the other alone."""
    hello = upstream(lambda handler: reply(handler, b"hello"))
    file = tmp_path / "agent.toml"
    file.write_text(
        f'[tunnels.web]\nupstream = {hello.port}\nname = ""\n'
        f'[tunnels.dns]\nkind = "udp"\nname = ""\nupstream = {echo.port}\n'
    )
    started = world.agent("start", "--config", file)
    urls = {event["kind"]: event["url"] for event in started.ready(2)}
    visitor = Visitor(urls["udp"])
    visitor.wait(b"hello")
    stop = threading.Event()

    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(visitor.socket.getpeername())
            while not stop.wait(0.0005):
                with contextlib.suppress(OSError):
                    sender.send(bytes(1400))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(5):
            assert world.get(urlsplit(urls["http"]).hostname)[0] == 200
    finally:
        stop.set()
        thread.join()
    assert visitor.wait(b"still there") is not None
