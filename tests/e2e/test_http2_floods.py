"""What costs an HTTP/2 visitor nothing: it loses its connection, and nobody else notices."""

import select
import ssl
import time

import pytest
from h2.errors import ErrorCodes
from h2.events import ResponseReceived
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.e2e.harness import PATIENCE, Upstream, memory, reply, send_bytes
from tests.e2e.http2_bulk import MIB, both_ways
from tests.e2e.http2_client import Http2Client

MANY = 100_000
ROOM = 48 * MIB
"""Bytes by which the server's process may grow meanwhile."""


def answer(handler):
    if handler.path == "/large":
        send_bytes(handler, 64 * MIB, bytes(65536))
    else:
        reply(handler, b"ok")


@pytest.fixture(scope="module")
def agent(world):
    service = Upstream(answer)
    yield world.agent("http", service.port, "--name", "flooded")
    service.close()


def used(world):
    """Bytes of memory of the process that serves."""
    (serving,) = world.workers
    return memory(serving)


class Flood:
    """
    A visitor's connection on which frames are sent as fast as they go, until it is lost.

    @ivar code: of the GOAWAY that the server said before; None without one.
    """

    def __init__(self, world, agent, make):
        self._came = bytearray()
        self._make, self._sent = make, 0
        with Http2Client(world, agent.host) as client:
            client.socket.setblocking(False)
            ends = time.monotonic() + PATIENCE
            while self._read(client.socket) and self._send(client):
                assert time.monotonic() < ends, "the connection has not ended"

    def _read(self, connection):
        """Take all that has come: a write that fails would lose it. @return: whether there may be more."""
        try:
            while data := connection.recv(65536):
                self._came += data
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        return False

    def _send(self, client):
        """Send some, as far as there is room. @return: whether the connection is there still."""
        numbers = range(self._sent, self._sent + (100 if self._sent < MANY else 1))
        self._sent += len(numbers)
        data = b"".join(self._make(client, number) for number in numbers)
        while self._read(client.socket):
            try:
                client.socket.send(data)
            except ssl.SSLWantWriteError:
                select.select([client.socket], [client.socket], [], PATIENCE)
            except OSError:
                break
            else:
                return True
        return False

    @property
    def code(self):
        data = memoryview(bytes(self._came))
        while len(data) >= 9:
            frame, length = Frame.parse_frame_header(data[:9])
            if isinstance(frame, GoAwayFrame):
                frame.parse_body(data[9 : 9 + length])
                return frame.error_code
            data = data[9 + length :]
        return None


def reset_request(client, number):
    """The frames of a request that is reset at once."""
    stream = 1 + 2 * number
    block = client.connection.encoder.encode(client.head())
    headers = HeadersFrame(stream, data=block, flags=["END_HEADERS", "END_STREAM"])
    return headers.serialize() + RstStreamFrame(stream, error_code=8).serialize()


def endless_head(client, number):
    """A frame of one head that has no end."""
    if number == 0:
        return HeadersFrame(1, data=client.connection.encoder.encode(client.head())).serialize()
    return ContinuationFrame(1, data=b"\0\1x\1y").serialize()


def empty_head(client, number):
    """The same, with nothing in the frames."""
    return (ContinuationFrame(1) if number else HeadersFrame(1)).serialize()


def ping(client, number):
    return PingFrame(0, opaque_data=b"12345678").serialize()


def settings(client, number):
    return SettingsFrame(0, settings={4: 65535 + number}).serialize()


def late_body(client, number):
    """Frames of a body whose stream was reset: long ones, each of which costs its reader little."""
    if number == 0:
        block = client.connection.encoder.encode(client.head(method=b"POST"))
        opened = HeadersFrame(1, data=block, flags=["END_HEADERS"])
        trailers = HeadersFrame(1, data=b"\0\1x\1y", flags=["END_HEADERS"])
        return opened.serialize() + trailers.serialize()
    return DataFrame(1, data=bytes(1024)).serialize()


def bodies_of_nothing(client, number):
    """The same, of streams that were left out, of which there are a billion."""
    if number == 0:
        block = client.connection.encoder.encode(client.head())
        return HeadersFrame(2**31 - 1, data=block, flags=["END_HEADERS", "END_STREAM"]).serialize()
    return DataFrame(2 * number - 1, data=bytes(1024)).serialize()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (reset_request, ErrorCodes.ENHANCE_YOUR_CALM),
        (ping, ErrorCodes.ENHANCE_YOUR_CALM),
        (settings, ErrorCodes.ENHANCE_YOUR_CALM),
        (endless_head, ErrorCodes.PROTOCOL_ERROR),
        (empty_head, ErrorCodes.PROTOCOL_ERROR),
        (late_body, ErrorCodes.FLOW_CONTROL_ERROR),
        (bodies_of_nothing, ErrorCodes.ENHANCE_YOUR_CALM),
    ],
)
def test_flood_costs_its_sender_the_connection_and_nobody_else_anything(world, agent, make, code):
    with Http2Client(world, agent.host) as other:
        assert other.answer(other.ask())[2] == b"ok"
        before = used(world)
        assert Flood(world, agent, make).code == code
        assert used(world) - before < ROOM
        for _ in range(5):
            assert other.answer(other.ask())[2] == b"ok"  # on the connection that it had
        assert world.get(agent.host)[0] == 200


def test_two_hundred_at_once_beside_one_that_does_not_read(world, agent):
    before = used(world)
    with Http2Client(world, agent.host) as stuck:
        for _ in range(20):
            stuck.ask("/large")
        stuck.until(lambda: stuck.connection.inbound_flow_control_window == 0, acknowledge=False)
        others = [Http2Client(world, agent.host) for _ in range(2)]
        asked = [(other, other.ask()) for other in others for _ in range(100)]
        for other, stream in asked:
            assert other.answer(stream)[2] == b"ok"
        # And on the connection itself, whose window is used up: the head of an answer needs none.
        stream = stuck.ask()
        stuck.until(lambda: stuck.of(ResponseReceived, stream), acknowledge=False)
        assert used(world) - before < ROOM
        for other in others:
            other.socket.close()


def test_large_bodies_both_ways_take_no_memory(world, tmp_path):
    """300 MiB each way, at once."""
    size = 300 * MIB
    told, grown = both_ways(world, size, tmp_path)
    assert told == [f"2 200 {size} 0", f"2 200 5 {size}"]
    assert max(grown) < ROOM
