"""The store that a server's configuration names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from burrow.server.config import ServerConfig
from burrow.store.base import IStore
from burrow.store.memory import MemoryStore
from burrow.store.sqlite.store import SQLiteStore

DATABASE, REDIS_MARK = "burrow.db", "redis-epoch"


def open_store(
    reactor: Any,
    config: ServerConfig,
    alone: Callable[[], bool] | None = None,
    lost: Callable[[str], None] = lambda name: None,
) -> IStore:
    """
    The store that a configuration names; not opened yet.

    @param alone: for a server, which continues while its store is away: returns whether it knows of no other
        server. None for a command.
    @param lost: see L{KnownStore<burrow.store.known.store.KnownStore>}.
    """
    if config.store == "memory":
        return MemoryStore()
    if config.store:
        # Imported only here, since txredisapi takes long to import and most servers have no Redis.
        from burrow.store.known.store import KnownStore
        from burrow.store.redis.store import RedisStore

        if alone and config.store.in_clear:
            Logger().warn(
                "the connection to Redis at {host} has no TLS: others on the network can read passwords, "
                "secrets of nodes and, without --store-key, private keys. Use rediss:// or a private network",
                host=config.store.in_clear,
            )
        redis = RedisStore(reactor, config.store)
        return KnownStore(reactor, redis, config.state_dir / REDIS_MARK, alone, lost) if alone else redis
    return SQLiteStore(reactor, config.state_dir / DATABASE)
