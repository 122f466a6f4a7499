"""Tests for L{burrow.store.redis.address}: who could listen on the way to a Redis."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from burrow.server.config import ServerConfig
from burrow.server.stores import open_store
from burrow.store.redis.address import RedisAddress


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://redis.example", "redis.example"),
        ("redis://:secret@10.0.0.1:7000/2", "10.0.0.1"),
        ("redis://[2001:db8::1]", "2001:db8::1"),
        ("redis://localhost.example", "localhost.example"),
        ("redis+sentinel://127.0.0.1,10.0.0.2/main", "10.0.0.2"),
        ("redis://127.0.0.1", ""),
        ("redis://127.1.2.3", ""),
        ("redis://[::1]:7000", ""),
        ("redis://LocalHost", ""),
        ("redis://redis.localhost.", ""),
        ("rediss://redis.example", ""),
        ("redis+sentinel://localhost,[::1]/main", ""),
    ],
)
def test_server_warns_of_a_redis_that_others_can_listen_to(url, host, tmp_path):
    assert RedisAddress.parse(url).in_clear == host
    config = ServerConfig(store=RedisAddress.parse(url), state=tmp_path)
    with capturedLogs() as events:
        open_store(Clock(), config, alone=lambda: True)
    texts = [formatEvent(event) for event in events if event["log_level"].name == "warn"]
    assert len(texts) == bool(host)
    assert all(f"Redis at {host} " in text and "rediss://" in text for text in texts)
    assert "secret@" not in "".join(texts)
    with capturedLogs() as events:
        open_store(Clock(), config)  # a command that looks into it: the server told already
    assert not events
