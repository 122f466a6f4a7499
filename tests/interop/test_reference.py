"""L{burrow.wire.yamux} against the reference implementation, hashicorp/yamux in Go, both ways round."""

import hashlib
import select
import socket
import subprocess
import time
from pathlib import Path

import pytest

from burrow.wire import backlog
from burrow.wire.events import (
    DataReceived,
    GoAwayReceived,
    PongReceived,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from burrow.wire.frames import HEADER_SIZE
from burrow.wire.windows import INITIAL_WINDOW
from tests.programs import build_go
from tests.wire.by_id import Yamux


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    return build_go(Path(__file__).parent / "reference", tmp_path_factory.mktemp("go"))


class Link:
    """A wire session of ours over a blocking socket to the reference's process."""

    def __init__(self, program, ours):
        listener = socket.create_server(("127.0.0.1", 0))
        theirs = "server" if ours == "client" else "client"
        self.process = subprocess.Popen(
            [program, theirs, f"127.0.0.1:{listener.getsockname()[1]}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        listener.settimeout(60)
        self.socket, _ = listener.accept()
        self.socket.settimeout(60)
        listener.close()
        self.session = Yamux(client=ours == "client")
        self.got, self.ended, self.reset, self.others = {}, set(), set(), []
        self.echo = False
        self.reading = True

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answered(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def answer(self):
        self.run(self.answered)
        return self.process.stdout.readline().strip()

    def run(self, until, patience=60):
        """Move bytes until something holds."""
        deadline = time.monotonic() + patience
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError("nothing of the expected came")
            while data := self.session.pull(1 << 18):
                self.socket.sendall(data)
            if (
                select.select([self.socket, self.process.stdout], [], [], 0.2)[0]
                and (select.select([self.socket], [], [], 0)[0])
            ):
                data = self.socket.recv(1 << 16)
                if not data:
                    raise AssertionError("the reference closed the connection")
                self.handle(self.session.receive_data(data))

    def handle(self, events):
        for event in events:
            if isinstance(event, DataReceived):
                self.got[event.stream_id] = self.got.get(event.stream_id, b"") + event.data
                if self.reading:
                    self.session.consumed(event.stream_id, len(event.data), time.monotonic())
                if self.echo:
                    self.session.send_data(event.stream_id, event.data)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
                if self.echo:
                    self.session.end_stream(event.stream_id)
            elif isinstance(event, StreamReset):
                self.reset.add(event.stream_id)
            else:
                self.others.append(event)

    def seen(self, kind):
        return [event for event in self.others if isinstance(event, kind)]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.socket.close()


@pytest.fixture(params=["client", "server"])
def link(request, reference):
    link = Link(reference, request.param)
    yield link
    link.close()


def test_many_streams_of_ours(link):
    payload = {}
    for number in range(300):
        stream_id = link.session.open_stream()
        payload[stream_id] = bytes([number % 251]) * (1 + number * 97)
        link.session.send_data(stream_id, b"echo\n" + payload[stream_id])
        link.session.end_stream(stream_id)
    link.run(lambda: len(link.ended) == 300)
    assert link.got == payload
    assert link.session.stream_count == 0


def test_many_streams_of_theirs(link):
    link.echo = True
    link.command("open 200 50000")
    assert link.answer() == "opened 200"
    assert len(link.seen(StreamOpened)) == 200
    link.run(lambda: link.session.stream_count == 0)


def test_half_close_and_large_windows(link):
    stream_id = link.session.open_stream()
    body = bytes(range(256)) * 20_000
    link.session.send_data(stream_id, b"digest\n")
    link.session.send_data(stream_id, body)
    link.session.end_stream(stream_id)
    link.run(lambda: stream_id in link.ended)
    assert link.got[stream_id].decode() == hashlib.sha256(body).hexdigest()


def test_grown_windows_are_kept_to(link):
    link.session.rtt = 0.5  # as on a long line: our receive windows grow at once
    stream_id = link.session.open_stream()
    link.session.send_data(stream_id, b"source 20000000\n")
    link.session.end_stream(stream_id)
    link.run(lambda: stream_id in link.ended)
    assert len(link.got[stream_id]) == 20_000_000


def test_window_exhaustion_stops_us(link):
    stream_id = link.session.open_stream()
    body = b"w" * 1_000_000
    link.session.send_data(stream_id, b"stall\n" + body)
    link.session.end_stream(stream_id)
    left = len(body) + 6 - INITIAL_WINDOW
    link.run(lambda: link.session.queued(stream_id) <= left)
    link.session.ping()
    link.run(lambda: link.seen(PongReceived))  # the session lives while the stream waits
    assert link.session.queued(stream_id) >= left - 6  # what its reader took of the first line
    link.command("read")
    assert link.answer() == "reading"
    link.run(lambda: stream_id in link.ended)
    assert link.got[stream_id].decode() == hashlib.sha256(body).hexdigest()


def test_window_exhaustion_stops_them(link):
    link.reading = False
    stream_id = link.session.open_stream()
    link.session.send_data(stream_id, b"source 1000000\n")
    link.run(lambda: len(link.got.get(stream_id, b"")) == INITIAL_WINDOW)
    link.session.ping()
    link.run(lambda: link.seen(PongReceived))
    assert len(link.got[stream_id]) == INITIAL_WINDOW
    link.reading = True
    link.session.consumed(stream_id, INITIAL_WINDOW, time.monotonic())
    link.run(lambda: stream_id in link.ended)
    assert len(link.got[stream_id]) == 1_000_000


def test_our_reset_leaves_the_session_alone(link):
    stream_id = link.session.open_stream()
    link.session.send_data(stream_id, b"source 10000000\n")
    link.run(lambda: stream_id in link.got)
    link.session.reset_stream(stream_id)
    link.command("ping")
    assert link.answer() == "pong"
    test_half_close_and_large_windows(link)


def test_their_reset_is_told(link, monkeypatch):
    link.command("refuse")
    assert link.answer() == "refusing"
    # One more stream is accepted by the Accept under way; the backlog takes 256; the rest is reset.
    monkeypatch.setattr(backlog, "MAX_UNACKED", 1000)
    ids = [link.session.open_stream() for _ in range(300)]
    for stream_id in ids:
        link.session.send_data(stream_id, b"echo\n")
    link.run(lambda: len(link.reset) >= 300 - 257)
    link.command("ping")
    assert link.answer() == "pong"


def test_ping_both_ways(link):
    opaque = link.session.ping()
    link.run(lambda: PongReceived(opaque) in link.others)
    link.command("ping")
    assert link.answer() == "pong"


def test_go_away_of_theirs(link):
    link.command("goaway")
    assert link.answer() == "goaway <nil>"
    link.run(lambda: link.seen(GoAwayReceived))
    assert link.session.remote_go_away


def test_go_away_of_ours(link):
    link.session.go_away(0)
    link.command("ping")  # answered after the go away was read
    assert link.answer() == "pong"
    link.command("open 1 10")
    assert link.answer().startswith("failed")


def test_bytes_split_at_every_point(reference):
    """The reference reads what we send one byte at a time."""
    link = Link(reference, "client")
    try:
        link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream_id = link.session.open_stream()
        link.session.send_data(stream_id, b"echo\nslowly")
        link.session.end_stream(stream_id)
        data = link.session.pull(1 << 18)
        assert len(data) == HEADER_SIZE + 11 + HEADER_SIZE
        for position in range(len(data)):
            link.socket.sendall(data[position : position + 1])
        link.run(lambda: stream_id in link.ended)
        assert link.got[stream_id] == b"slowly"
    finally:
        link.close()
