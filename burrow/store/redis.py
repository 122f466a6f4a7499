"""
The store in Redis, by txredisapi: for state apart from the server's disk.

Keys, all under C{burrow:}::

    tokens          hash   token id -> JSON
    token-names     hash   token's name -> id
    reservations    hash   name -> JSON
    ports           hash   port -> name
    remembered      hash   token, agent, kind, upstream -> name

What must happen in one step is a script, which Redis runs without another in between. Every question has
L{TIMEOUT} seconds; a Redis that is away, stopped or slow is a L{StoreError} then, and txredisapi connects
again by itself.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import attr
import txredisapi
from twisted.internet.defer import Deferred, TimeoutError
from zope.interface import implementer

from burrow.errors import ConfigError, StoreError
from burrow.store.base import IStore, Reservation, Taken, Token

TIMEOUT = 3.0
"""Seconds for an answer."""

_PREFIX = "burrow:"

_ADD_TOKEN = """
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

_REVOKE = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], id)
return 1
"""

_USED = """
local token = redis.call('HGET', KEYS[1], ARGV[1])
if token then
    local record = cjson.decode(token)
    record['last_used'] = tonumber(ARGV[2])
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(record))
end
"""

_RESERVE = """
local wanted = cjson.decode(ARGV[1])
local known = redis.call('HGET', KEYS[1], wanted['name'])
if known then
    known = cjson.decode(known)
    if known['token'] ~= wanted['token'] then return 'name' end
    if wanted['port'] == cjson.null then wanted['port'] = known['port'] end
    wanted['assigned'] = known['assigned']
    wanted['created'] = known['created']
end
if wanted['port'] ~= cjson.null then
    local owner = redis.call('HGET', KEYS[2], wanted['port'])
    if owner and owner ~= wanted['name'] then return 'port' end
end
if known then
    if known['port'] ~= cjson.null then redis.call('HDEL', KEYS[2], known['port']) end
    local key = cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
    if redis.call('HGET', KEYS[3], key) == known['name'] then redis.call('HDEL', KEYS[3], key) end
end
if wanted['port'] ~= cjson.null then redis.call('HSET', KEYS[2], wanted['port'], wanted['name']) end
if wanted['assigned'] then
    local key = cjson.encode({wanted['token'], wanted['agent'], wanted['kind'], wanted['upstream']})
    redis.call('HSET', KEYS[3], key, wanted['name'])
end
local kept = cjson.encode(wanted)
redis.call('HSET', KEYS[1], wanted['name'], kept)
return kept
"""

_REMEMBERED = """
local name = redis.call('HGET', KEYS[2], cjson.encode({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}))
if not name then return false end
return redis.call('HGET', KEYS[1], name)
"""

_RELEASE = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then return 0 end
known = cjson.decode(known)
redis.call('HDEL', KEYS[1], ARGV[1])
if known['port'] ~= cjson.null then redis.call('HDEL', KEYS[2], known['port']) end
local key = cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
if redis.call('HGET', KEYS[3], key) == ARGV[1] then redis.call('HDEL', KEYS[3], key) end
return 1
"""

_TOKENS = [_PREFIX + "tokens", _PREFIX + "token-names"]
_RESERVATIONS = [_PREFIX + "reservations", _PREFIX + "ports", _PREFIX + "remembered"]


@attr.frozen
class RedisAddress:
    """
    Where a Redis is: C{redis://[[user]:password@]host[:port][/database]}.
    """

    host: str
    port: int
    database: int
    user: str | None
    password: str | None = attr.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> RedisAddress:
        """@raise ConfigError: it is no such URL; the error does not show a password."""
        parts = urlsplit(text)
        try:
            port, database = parts.port or 6379, int(parts.path.strip("/") or 0)
        except ValueError:
            port, database = 0, 0
        if parts.scheme != "redis" or not parts.hostname or not port:
            raise ConfigError("--store must look like redis://[:password@]host[:port][/database]")
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return cls(parts.hostname, port, database, user, password)


def _token(text: Any) -> Token | None:
    if text is None:
        return None
    fields = json.loads(text)
    return Token(**{**fields, "digest": bytes.fromhex(fields["digest"])})


def _reservation(text: Any) -> Reservation | None:
    return None if text is None else Reservation(**json.loads(text))


@implementer(IStore)
class RedisStore:
    """
    @param address: which Redis.
    """

    def __init__(self, reactor: Any, address: RedisAddress) -> None:
        self._reactor = reactor
        self._address = address
        self._connection: Any = None

    def open(self) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._open())

    def _connect(self) -> Any:
        """Begin to connect, with a new pool."""
        address = self._address
        self._connection = txredisapi.lazyConnectionPool(
            address.host,
            address.port,
            address.database,
            poolsize=2,
            charset="utf-8",
            username=address.user,
            password=address.password,
            connectTimeout=TIMEOUT,
            replyTimeout=TIMEOUT,
            convertNumbers=False,
        )
        factory = self._connection._factory
        factory.initialDelay, factory.maxDelay = 0.1, 1.0
        return self._connection._connected

    async def _open(self) -> None:
        # Fires with the handler once it is connected; fails where it gives up, as for a wrong password.
        connected: Deferred[Any] = self._connect()
        try:
            await connected.addTimeout(TIMEOUT, self._reactor)
        except (TimeoutError, ValueError) as error:
            await self._close()
            why = f": {error}" if isinstance(error, ValueError) else ""
            raise StoreError(f"{self._where} does not answer{why}") from error

    def close(self) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.disconnect().addTimeout(TIMEOUT, self._reactor)
            except (TimeoutError, txredisapi.RedisError):
                return  # it does not answer: the process's end closes the socket

    @property
    def _where(self) -> str:
        return f"Redis at {self._address.host}:{self._address.port}"

    async def _ask(self, command: str, *arguments: Any) -> Any:
        if self._connection is None:
            raise StoreError("the store is closed")
        factory = self._connection._factory
        if not factory.size:
            if factory.stopped:
                # It gives up for good when a Redis takes the connection and answers nothing.
                self._connect().addErrback(lambda reason: None)
            # Not left to wait for a connection: what failed must not be done later.
            raise StoreError(f"{self._where} cannot be reached")
        try:
            # Bounded by replyTimeout, which drops the connection. Cancelled, it would leave its answer to the
            # next question.
            return await getattr(self._connection, command)(*arguments)
        except txredisapi.RedisError as error:
            raise StoreError(f"{self._where} fails: {error}") from error

    async def _run(self, script: str, keys: list[str], *arguments: str) -> Any:
        return await self._ask("eval", script, keys, list(arguments))

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._add_token(token))

    async def _add_token(self, token: Token) -> None:
        record = json.dumps({**attr.asdict(token), "digest": token.digest.hex()})
        if not int(await self._run(_ADD_TOKEN, _TOKENS, token.id, token.name, record)):
            raise Taken(f"there is a token named {token.name!r} already")

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_token(token_id))

    async def _get_token(self, token_id: str) -> Token | None:
        return _token(await self._ask("hget", _TOKENS[0], token_id))

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_tokens())

    async def _get_tokens(self) -> list[Token]:
        found = [_token(text) for text in await self._ask("hvals", _TOKENS[0])]
        return sorted((token for token in found if token is not None), key=lambda token: token.name)

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._flag(_REVOKE, _TOKENS, name))

    async def _flag(self, script: str, keys: list[str], *arguments: str) -> bool:
        return bool(int(await self._run(script, keys, *arguments)))

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._token_used(token_id, when))

    async def _token_used(self, token_id: str, when: float) -> None:
        await self._run(_USED, _TOKENS, token_id, repr(when))

    def reserve(self, reservation: Reservation) -> Deferred[Reservation]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._reserve(reservation))

    async def _reserve(self, wanted: Reservation) -> Reservation:
        answer = await self._run(_RESERVE, _RESERVATIONS, json.dumps(attr.asdict(wanted)))
        if answer == "name":
            raise Taken(f"the name {wanted.name!r} belongs to another token")
        if answer == "port":
            raise Taken(f"port {wanted.port} belongs to another name")
        return Reservation(**json.loads(answer))

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_reservation(name))

    async def _get_reservation(self, name: str) -> Reservation | None:
        return _reservation(await self._ask("hget", _RESERVATIONS[0], name))

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._remembered(token_id, agent, kind, upstream))

    async def _remembered(self, *key: str) -> Reservation | None:
        keys = [_RESERVATIONS[0], _RESERVATIONS[2]]
        return _reservation(await self._run(_REMEMBERED, keys, *key))

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_reservations())

    async def _get_reservations(self) -> list[Reservation]:
        found = [_reservation(text) for text in await self._ask("hvals", _RESERVATIONS[0])]
        return sorted((known for known in found if known is not None), key=lambda known: known.name)

    def release(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._flag(_RELEASE, _RESERVATIONS, name))
