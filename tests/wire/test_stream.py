"""What one stream of a session queues."""

from burrow.wire.pieces import SMALL
from burrow.wire.yamux import Yamux


def test_bytes_that_wait_one_by_one_take_few_pieces():
    stream = Yamux(client=False).open_stream()
    for _ in range(64 * 1024):
        stream.write(b"x")
    assert stream.queued == 64 * 1024
    assert len(stream.chunks) <= 64 * 1024 // SMALL + 8
    assert b"".join(stream.chunks) == b"x" * 64 * 1024
