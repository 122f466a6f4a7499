"""A screen on a terminal in memory, and records with fixed times, for tests."""

from types import SimpleNamespace

import pyte
from twisted.internet.task import Clock

from burrow.client.screen import live
from burrow.client.screen.live import LiveScreen
from burrow.client.tunnels import TunnelRequest
from burrow.client.wanted import Opened, WantedTunnels
from burrow.link.address import ServerAddress
from burrow.protocols.http import HttpProtocol
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record

BEGAN = 1_795_000_000.0  # 2026-11-18 14:26:40 UTC


class MemoryTerminal:
    """
    Takes the place of L{Terminal<burrow.client.screen.terminal.Terminal>}; pyte reads what is written to it.

    @ivar busy: whether it takes nothing now. @ivar frames: how many writes there were.
    """

    def __init__(self, reactor, on_data, on_change, on_drained, on_gone):
        self.on_data = on_data
        self.on_change = on_change
        self.on_drained = on_drained
        self.on_gone = on_gone
        self.busy = False
        self.active = False
        self.written = b""
        self.frames = 0
        self.resize(80, 24)

    def resize(self, columns, lines):
        self.size = columns, lines
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        if self.active:
            self.on_change()

    def open(self):
        self.active = True

    def close(self):
        self.active = False

    def check(self):
        pass

    def write(self, data):
        self.written += data
        self.frames += 1
        self.stream.feed(data)

    @property
    def text(self):
        """What is shown, without spaces at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.screen.display) + "\n"


class Shown:
    """
    A screen of an agent that was made for it.

    @param names: the names of its tunnels. @ivar cpu: seconds of CPU used.
    @ivar holding: the events' sentences that are true until they are taken out.
    """

    cpu = 0.0

    def __init__(self, *names, size=(80, 24), environ=None, encoding="utf-8"):
        kind = HttpProtocol()
        self.clock = Clock()
        self.requests = [
            TunnelRequest(kind, kind.parse_upstream(f"{3000 + number}"), name)
            for number, name in enumerate(names)
        ]
        session = SimpleNamespace(pings=SimpleNamespace(last=0.0123))
        self.linked = SimpleNamespace(
            attached=True, server_version="1.2.0", token_name="laptop", session=session
        )
        self.agent = SimpleNamespace(
            reactor=self.clock,
            wanted=WantedTunnels(self.requests),
            linked=None,
            next_try=None,
            visitors=0,
            server=ServerAddress.parse("https://example.com"),
            traffic=Traffic(),
            holds=lambda text: text in self.holding,
        )
        self.holding = set()
        self.quits = 0
        self.live = LiveScreen(
            self.agent,
            {"TERM": "xterm-256color"} if environ is None else environ,
            self.quit,
            encoding=encoding,
            terminal=MemoryTerminal,
            cpu=lambda: self.cpu,
        )
        self.asked = []
        self.live._upstreams.ask = self.asked.append
        self.terminal = self.live._terminal
        self.terminal.resize(*size)
        self.live.start()

    def quit(self):
        self.quits += 1

    def open_all(self):
        """The agent is connected, and its tunnels are open."""
        self.agent.linked = self.linked
        for wanted in self.agent.wanted.all:
            wanted.open, wanted.tunnel = True, wanted.request.name
            name = wanted.request.name
            self.live.opened(Opened(wanted.request, name, f"https://{name}.example.com"))

    def begin(
        self, target="/", method="GET", tunnel="blog", protocol="http", visitor="203.0.113.9:50000", at=0
    ):
        record = Record(
            protocol,
            tunnel,
            visitor,
            method=method,
            target=target,
            host=f"{tunnel}.example.com",
            began=BEGAN + at,
            _clock=self.clock.seconds,
        )
        self.agent.traffic.begun(record)
        return record

    def request(self, target="/", status=200, took=0.012, sent=0, error="", **fields):
        record = self.begin(target, **fields)
        record.status = status
        record.sent = sent
        record._started -= took
        self.agent.traffic.ended(record, error)
        return record

    def press(self, *keys):
        for key in keys:
            self.terminal.on_data(key.encode())

    def frame(self, seconds=0.2):
        """What is shown a moment later."""
        self.clock.advance(seconds)
        self.clock.advance(live.EVERY)
        return self.terminal.text
