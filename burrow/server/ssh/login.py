"""
A connection to C{--ssh}, and the way of a stranger to the session of an L{SshClient}: the time that it has,
and what it shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.conch.error import ValidPublicKey
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.conch.ssh.transport import DISCONNECT_BY_APPLICATION, SSHServerTransport
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.clock import cancel
from burrow.errors import StoreError
from burrow.link.accept import HandshakeRefused
from burrow.mux.control import shown
from burrow.server.ssh.channels import QUIET, FlowingConnection
from burrow.server.ssh.client import SshClient
from burrow.server.ssh.connections import Connections
from burrow.server.ssh.keepalive import Keepalive
from burrow.sockets import way
from burrow.store.base import Token

LOGIN_WITHIN = 60
"""Seconds from the connection to the end of the authentication."""


class _Login(SSHUserAuthServer):
    _log = QUIET


class _Transport(SSHServerTransport):
    """
    One connection: bounds what a stranger takes, where Conch begins to only once keys are exchanged, and ends
    one whose client is gone. See L{Connection<burrow.server.ssh.connections.Connection>}.

    @ivar farewell: why it ends, if one of both sides said so before it was lost; else empty.
    """

    _log = QUIET
    log = Logger()
    _deadline: Any = None
    _keepalive: Keepalive | None = None
    farewell = ""

    def connectionMade(self) -> None:
        super().connectionMade()
        transport: Any = self.transport
        # Who reads none of our answers is not read.
        transport.registerProducer(transport, True)
        factory: Any = self.factory
        self._deadline = factory.clock.callLater(LOGIN_WITHIN, transport.abortConnection)
        factory.connections.open.add(self)

    def setService(self, service: Any) -> None:
        if service.name == b"ssh-connection":
            cancel(self._deadline)
        super().setService(service)
        factory: Any = self.factory
        if service.name == b"ssh-connection" and self._keepalive is None:  # a client may ask for it twice
            self._keepalive = Keepalive(factory.clock, self._ask, self._gone, lambda: way(self.transport))
        if self._client is not None and factory.connections.notice:
            self.tell(factory.connections.notice)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came, whatever they mean."""
        if self._keepalive is not None:
            self._keepalive.heard()
        super().dataReceived(data)

    def _ask(self) -> None:
        service: Any = self.service
        service.ask_for_life()

    def _gone(self) -> None:
        """Cut it without a good-bye, so that its client is expected back."""
        transport: Any = self.transport
        self.log.warn(
            "ssh: the client at {peer} has answered nothing for half a minute; its connection is ended",
            peer=shown(transport.getPeer()),
        )
        transport.abortConnection()

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        """The client leaves on purpose: nobody waits for it."""
        self.farewell = self.farewell or "the ssh client left"
        super().ssh_DISCONNECT(packet)

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        cancel(self._deadline)
        if self._keepalive is not None:
            self._keepalive.stop()
        factory: Any = self.factory
        factory.connections.open.discard(self)
        super().connectionLost(reason)

    @property
    def _client(self) -> SshClient | None:
        """Who is let in; None before."""
        return getattr(self, "avatar", None)

    @property
    def idle(self) -> bool:
        return self._client is None or not self._client.has_visitors

    def tell(self, text: str) -> None:
        if self._client is not None:
            self._client.say(text)

    def end(self, why: str) -> None:
        if not self.farewell:
            self.farewell = why
            self.sendDisconnect(DISCONNECT_BY_APPLICATION, why.encode())

    def abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class LoginFactory(SSHFactory):
    """
    What serves the port.

    @param host: the server's key.
    @param by_password: awaited with a user's name and password, returns the token that this is; raises
        L{HandshakeRefused}.
    @param by_key: awaited with a public key (RFC 4253 section 6.6), returns the token of who has it, or None.
    @param client: called with a user's name and token, makes the L{SshClient} of who is let in.
    @param connections: has those that are open.
    """

    services = {b"ssh-userauth": _Login, b"ssh-connection": FlowingConnection}
    protocol = _Transport
    noisy = False
    _log = QUIET

    def __init__(
        self,
        clock: Any,
        host: Key,
        by_password: Callable[[str, str], Awaitable[Token]],
        by_key: Callable[[bytes], Awaitable[Token | None]],
        client: Callable[[str, Token], SshClient],
        connections: Connections,
    ) -> None:
        self.clock = clock
        self.connections = connections
        self.publicKeys = {b"ssh-ed25519": host.public()}
        self.privateKeys = {b"ssh-ed25519": host}
        self.portal = Portal(_Realm(client), [_Checker(by_password, by_key)])


@implementer(ICredentialsChecker)
class _Checker:
    credentialInterfaces = (IUsernamePassword, ISSHPrivateKey)

    def __init__(
        self,
        by_password: Callable[[str, str], Awaitable[Token]],
        by_key: Callable[[bytes], Awaitable[Token | None]],
    ) -> None:
        self._by_password = by_password
        self._by_key = by_key

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, given: Any) -> tuple[str, Token]:
        shows_key, credentials = ISSHPrivateKey.providedBy(given), given
        name = credentials.username.decode("utf-8", "replace")
        try:
            if not shows_key:
                return name, await self._by_password(name, credentials.password.decode("utf-8", "replace"))
            token = await self._by_key(credentials.blob)
            if token is None:
                raise UnauthorizedLogin("the key is not in --ssh-keys")
            if not credentials.signature:
                raise ValidPublicKey
            if not Key.fromString(credentials.blob).verify(credentials.signature, credentials.sigData):
                raise UnauthorizedLogin("the signature is wrong")
            return name, token
        except (HandshakeRefused, StoreError, BadKeyError) as error:
            raise UnauthorizedLogin(str(error)) from error


@implementer(IRealm)
class _Realm:
    def __init__(self, client: Callable[[str, Token], SshClient]) -> None:
        self._client = client

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        client = self._client(*avatarId)
        return IConchUser, client, client.logout
