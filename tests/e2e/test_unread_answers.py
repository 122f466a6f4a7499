"""A visitor that asks for much over one connection of HTTP/2 and reads none of it: what it costs."""

import hashlib
import time
from pathlib import Path

import pytest
from h2.events import DataReceived, StreamEnded
from h2.settings import SettingCodes

from burrow.wire.windows import INITIAL_WINDOW
from tests.e2e.harness import Upstream, memory, reply, wait_for
from tests.e2e.http2_bulk import MIB
from tests.e2e.http2_client import Http2Client
from tests.programs import program

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "agent-node" / "agent.js"
MANY = 100
SIZE = 10_000_000
PIECE = bytes(range(251)) * 400  # of no power of two, so that what is left out is seen
ROOM = 8 * MIB
"""Bytes by which the server's process may grow: 4 MiB of windows, and what the connection itself takes."""


class Downloads:
    """Answers of SIZE bytes each. @ivar begun: how many. @ivar sent: bytes that the system took of all."""

    def __init__(self):
        self.begun = self.sent = 0

    def __call__(self, handler):
        if handler.path != "/large":
            reply(handler, b"ok")
            return
        self.begun += 1
        handler.send_response(200)
        handler.send_header("Content-Length", str(SIZE))
        handler.end_headers()
        left = SIZE
        while left:
            piece = PIECE[:left]
            handler.wfile.write(piece)
            left -= len(piece)
            self.sent += len(piece)


@pytest.fixture(scope="module")
def downloads():
    return Downloads()


@pytest.fixture(scope="module")
def service(downloads):
    service = Upstream(downloads)
    yield service
    service.close()


@pytest.fixture(scope="module")
def agent(world, service):
    return world.agent("http", service.port, "--name", "unread", "--no-inspect")


@pytest.fixture
def node_agent(world, service):
    """The agent of docs/examples in JavaScript. @return: its tunnel's host."""
    env = {**world.env, "NODE_EXTRA_CA_CERTS": str(world.ca_file)}
    command = [program("node"), EXAMPLE, world.env["BURROW_SERVER"], "http", "node-unread", service.port]
    agent = world.program(*command, env=env)
    agent.line("https://")
    return "node-unread.localhost"


def whole():
    """The digest of an answer."""
    digest = hashlib.sha256(PIECE * (SIZE // len(PIECE)))
    digest.update(PIECE[: SIZE % len(PIECE)])
    return digest.digest()


def seconds(visitor):
    """How long a small request takes."""
    began = time.monotonic()
    assert visitor.answer(visitor.ask())[2] == b"ok"
    return time.monotonic() - began


def settled(downloads):
    """Wait until the services send no more, as nothing takes it."""
    before = None
    while before != downloads.sent:
        before = downloads.sent
        time.sleep(0.5)


def ask_for_many(stuck, downloads):
    """MANY downloads of which nothing is read. @return: their streams, once no more of them comes."""
    stuck.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 16 * MIB})
    begun = downloads.begun
    streams = [stuck.ask("/large") for _ in range(MANY)]
    wait_for(lambda: downloads.begun == begun + MANY, "the last request")
    settled(downloads)
    return streams


def test_hundred_downloads_that_are_not_read(world, agent, downloads):
    (serving,) = world.workers
    with Http2Client(world, agent.host) as other:
        for _ in range(300):
            usual = seconds(other)
        before = memory(serving)
        with Http2Client(world, agent.host) as stuck:
            streams = ask_for_many(stuck, downloads)
            assert memory(serving) - before < ROOM
            assert min(seconds(other) for _ in range(20)) < usual + 0.25
            assert world.get(agent.host)[0] == 200
            digests = {stream: hashlib.sha256() for stream in streams}
            ended = set()
            while len(ended) < MANY:
                events = stuck.read()
                assert events is not None
                for event in events:
                    if isinstance(event, DataReceived):
                        digests[event.stream_id].update(event.data)
                    elif isinstance(event, StreamEnded):
                        ended.add(event.stream_id)
                stuck.events.clear()
            assert {digest.digest() for digest in digests.values()} == {whole()}


def test_agent_in_another_language_does_as_it_is_told(world, node_agent, downloads):
    (serving,) = world.workers
    with Http2Client(world, node_agent) as other:
        for _ in range(300):
            seconds(other)
        before = memory(serving)
        with Http2Client(world, node_agent) as stuck:
            ask_for_many(stuck, downloads)
            assert memory(serving) - before < ROOM
            came = 0
            while came < 2 * MANY * INITIAL_WINDOW:  # it goes on as it is read
                events = stuck.read()
                assert events is not None
                came += sum(len(event.data) for event in events if isinstance(event, DataReceived))
                stuck.events.clear()
