"""A thousand visitors who read server-sent events at once, half of them by HTTP/2."""

import asyncio
import resource
import threading

import pytest

from tests.e2e.harness import memory, wait_for
from tests.e2e.http2_bulk import MIB
from tests.e2e.http2_client import Http2Client

CONNECTIONS = 5
STREAMS = 100
"""Of each connection of HTTP/2: as many as the server lets one have."""

PLAIN = 500
"""Visitors by HTTP/1.1."""

FILES = 4096

ROUNDS = 12
ROOM = 24 * MIB
"""By how much a process may grow while twice as many bytes pass it."""


class Broadcaster:
    """
    A service that keeps each answer open as a stream of events, until its visitor leaves.

    @ivar readers: the connections that have had their head.
    """

    def __init__(self):
        self.readers = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._run(self._listen())

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: begun\n\n")
        self.readers.add(writer)
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            self.readers.discard(writer)
            writer.close()

    def tell(self, data):
        """Send one event to each reader."""

        async def told():
            for writer in self.readers:
                writer.write(b"data: %s\n\n" % data)

        self._run(told())

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)


class PlainReader:
    """A visitor by HTTP/1.1."""

    def __init__(self, world, host):
        self._connection = world.http_connection(host)
        self._connection.request("GET", "/")
        self._response = None

    def until(self, text):
        """Read until this has come, and forget it."""
        if self._response is None:
            self._response = self._connection.getresponse()
        body = b""
        while text not in body:
            data = self._response.read1(65536)
            assert data, "the stream has ended"
            body += data

    def close(self):
        self._response.close()
        self._connection.close()


class Http2Readers:
    """As many visitors as one connection of HTTP/2 may be."""

    def __init__(self, world, host):
        self._client = Http2Client(world, host)
        self._streams = [self._client.ask() for _ in range(STREAMS)]

    def until(self, text):
        """Read until this has come on each stream, and forget all that came."""
        bodies = dict.fromkeys(self._streams, b"")
        while any(text not in body for body in bodies.values()):
            assert self._client.read() is not None, self._client.code
            for stream in bodies:
                bodies[stream] += self._client.body(stream)
            self._client.events.clear()

    def close(self):
        self._client.socket.close()


@pytest.fixture(scope="module", autouse=True)
def files():
    """Service and visitors are in this process: 1,505 sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_thousand_readers(world):
    service = Broadcaster()
    agent = world.agent("http", service.port, "--name", "events", "--no-inspect")
    readers = [PlainReader(world, agent.host) for _ in range(PLAIN)]
    readers += [Http2Readers(world, agent.host) for _ in range(CONNECTIONS)]
    for reader in readers:
        reader.until(b": begun\n\n")
    assert len(service.readers) == PLAIN + CONNECTIONS * STREAMS

    (serving,) = world.workers
    pids = [serving, agent.program.process.pid]
    before = []
    for number in range(ROUNDS + 1):
        last = b"event %d" % number
        service.tell(b"x" * 4096 + last)
        for reader in readers:
            reader.until(last + b"\n\n")
        if not before:  # the first event: now each stream has what it needs
            before = [memory(pid) for pid in pids]
    grown = [memory(pid) - first for pid, first in zip(pids, before, strict=True)]
    assert max(grown) < ROOM, grown

    for reader in readers:
        reader.close()
    wait_for(lambda: not service.readers, "the end of each answer at the service")
    service.close()
