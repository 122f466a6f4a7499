"""
Connections to a Redis: plain, over TLS, or to the master that Sentinels name.

A question that Redis does not answer within L{TIMEOUT} seconds fails with L{StoreError}; txredisapi connects
again by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import StoreError
from burrow.identity import client_tls
from burrow.store.redis.address import RedisAddress
from burrow.trust import trust_root

TIMEOUT = 3.0
"""Seconds for an answer."""

CHANNEL = "burrow:changed"
"""Where those who change something publish who they are."""

_POOL = 2


class _Subscriber(txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """A connection that is subscribed to L{CHANNEL} as soon as it is ready."""

    heard: Callable[[str], None]

    log = Logger()

    def connectionMade(self) -> Any:
        return super().connectionMade().addCallback(lambda _: self._subscribe())

    def _subscribe(self) -> None:
        self.transport.setTcpKeepAlive(True)
        if self._ready:  # else it was refused, or is not the master
            self.subscribe(CHANNEL).addErrback(self._refused)

    def _refused(self, reason: Failure) -> None:
        self.log.debug("Redis tells no changes: {reason}", reason=reason.getErrorMessage())

    def messageReceived(self, pattern: object, channel: str, message: str) -> None:
        type(self).heard(message)


class _MasterSubscriber(txredisapi.SentinelRedisProtocol, _Subscriber):  # type: ignore[misc]
    """The same, to the master that Sentinels name."""

    def connectionMade(self) -> Any:
        ready = txredisapi.SentinelRedisProtocol.connectionMade(self)
        return ready.addCallback(lambda _: self._subscribe())


def _subscribed(factory: type, protocol: type, heard: Callable[[str], None] | None) -> Any:
    """txredisapi's factory of connections, or of such as are subscribed: it takes the protocol as a class."""
    if heard is None:
        return factory
    subscriber = type(protocol.__name__, (protocol,), {"heard": staticmethod(heard)})
    return type(factory.__name__, (factory,), {"protocol": subscriber})


class RedisConnection:
    """
    The connections to one Redis.

    @ivar made: how many connections were made so far; a new one may lead to another Redis.
    """

    def __init__(self, reactor: Any, address: RedisAddress) -> None:
        self.address = address
        self.made = 0
        self._reactor = reactor
        self._handler: Any = None
        self._sentinel: Any = None
        self._listener: Any = None
        self._heard: Callable[[str], None] | None = None

    async def open(self) -> None:
        """@raise StoreError: it does not answer within L{TIMEOUT}."""
        # Fires once it is connected; fails where it gives up, as for a wrong password.
        connected: Deferred[Any] = self._connect()
        try:
            await connected.addTimeout(TIMEOUT, self._reactor)
        except (TimeoutError, ValueError) as error:
            await self.close()
            why = f": {error}" if isinstance(error, ValueError) else ""
            raise StoreError(f"Redis at {self.address} does not answer{why}") from error

    async def close(self) -> None:
        """Close the connections, within L{TIMEOUT}."""
        handler, self._handler = self._handler, None
        listener, self._listener, self._heard = self._listener, None, None
        sentinel, self._sentinel = self._sentinel, None
        for closing in (handler, listener, sentinel):
            if closing is not None:
                try:
                    await closing.disconnect().addTimeout(TIMEOUT, self._reactor)
                except (TimeoutError, txredisapi.RedisError):
                    continue  # it does not answer: the process's end closes the socket

    def _start(self, poolsize: int, subscribe: Callable[[str], None] | None = None) -> Any:
        """
        Begin to connect, and again whenever that is needed.

        @param subscribe: called with what is published on L{CHANNEL}; such connections do nothing else.
        @return: txredisapi's handler.
        """
        address = self.address
        options = {
            "charset": "utf-8",
            "username": address.user,
            "password": address.password,
            "replyTimeout": TIMEOUT,
            "convertNumbers": False,
        }
        if address.master:
            if self._sentinel is None:
                self._sentinel = txredisapi.Sentinel(
                    address.hosts, reconnect=True, connectTimeout=TIMEOUT, replyTimeout=TIMEOUT
                )
                self._sentinel.discovery_timeout = TIMEOUT
            kind = _subscribed(txredisapi.SentinelConnectionFactory, _MasterSubscriber, subscribe)
            handler = self._sentinel.master_for(
                address.master, kind, dbid=address.database, poolsize=poolsize, **options
            )
            factory = handler._factory
        else:
            host, port = address.hosts[0]
            endpoint: Any = HostnameEndpoint(self._reactor, host, port, timeout=TIMEOUT)
            if address.tls:
                endpoint = wrapClientTLS(client_tls(host, trust_root(address.ca_file)), endpoint)
            kind = _subscribed(txredisapi.RedisFactory, _Subscriber, subscribe)
            factory = kind(None, address.database, poolsize, isLazy=True, **options)
            factory.startConnecting(endpoint)
            handler = factory.handler
        factory.initialDelay, factory.maxDelay = 0.1, 1.0
        return handler

    def _connect(self) -> Any:
        """Begin to connect, with a new pool."""
        self._handler = self._start(_POOL)
        factory = self._handler._factory
        add = factory.addConnection

        def made(connection: Any) -> None:
            self.made += 1
            add(connection)

        factory.addConnection = made
        return self._handler._connected

    def listen(self, heard: Callable[[str], None]) -> None:
        """
        Call C{heard} with what is published on L{CHANNEL}, over a connection of its own; L{open} comes first.
        While that connection is lost nothing is heard.
        """
        self._heard = heard
        self._listener = self._start(1, heard)
        self._listener._connected.addErrback(lambda reason: None)

    async def ask(self, command: str, *arguments: Any) -> Any:
        """
        Ask one question. @raise StoreError: there is no answer; what it was to do may be done or not.
        """
        if self._handler is None:
            raise StoreError("the store is closed")
        factory = self._handler._factory
        if self._heard is not None and self._listener._factory.stopped:
            self.listen(self._heard)  # it gave up, as below
        if not factory.size:
            if factory.stopped:
                # The pool gives up for good when a Redis accepts a connection and answers nothing.
                self._connect().addErrback(lambda reason: None)
            # Not queued until there is a connection: what failed must not be done later.
            raise StoreError(f"Redis at {self.address} cannot be reached")
        try:
            # Bounded by replyTimeout, which drops the connection. Cancelled, it would leave its answer to the
            # next question.
            return await getattr(self._handler, command)(*arguments)
        except txredisapi.RedisError as error:
            raise StoreError(f"Redis at {self.address} fails: {error}") from error
