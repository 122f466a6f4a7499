"""
Agents that are a plain C{ssh -R} (C{--ssh}): nothing has to be installed beside OpenSSH.

    ssh -R 80:localhost:3000 -p 2222 NAME@example.com

An SSH connection is an agent's session inside this process: its two ends are joined in memory, so that a
token's limits and its end, names, the admin API and everything else are those of any agent. Each C{-R} is a
tunnel: of kind http for the ports 80 and 443, else of kind tcp. A visitor's stream is a channel to the client
(RFC 4254 section 7.2), which connects to the service itself.

The user's name is the name that is wanted; L{ANY} leaves the choice to the server. The password is a token;
or a key is one that the file of C{--ssh-keys} has, with the name of a token behind it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.avatar import ConchUser
from twisted.conch.error import ValidPublicKey
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.connection import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.forwarding import unpackGlobal_tcpip_forward
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.clock import cancel
from burrow.errors import BurrowError, StoreError
from burrow.folders import write_whole
from burrow.link.accept import Handshake, HandshakeRefused
from burrow.mux.channel import BoundedAMP
from burrow.mux.control import Drain, Notice, OpenTunnel, VisitorHead, shown
from burrow.mux.endpoint import StreamClientEndpoint
from burrow.mux.session import Session
from burrow.policy.means import Busy, InThread
from burrow.server.agents import Agents
from burrow.server.ssh.channels import QUIET, FlowingConnection, Terminal, Visitor, channel_for
from burrow.server.ssh.memory import join_sessions
from burrow.store.base import IStore, Token

ANY = "any"
"""The user's name that leaves the tunnel's to the server."""

MAX_VISITORS = 64
"""Connections of visitors to one client at a time; further ones are reset."""

LOGIN_WITHIN = 60
"""Seconds from the connection to the end of the authentication."""

_HTTP_PORTS = (80, 443)


def host_key(folder: Path) -> Key:
    """
    The server's key, made when it is first needed.

    @raise OSError: it can neither be read nor kept. @raise ValueError: the file holds no key.
    """
    path = folder / "ssh-host-key"
    if not path.exists():
        made = ed25519.Ed25519PrivateKey.generate()
        text = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write_whole(path, text, first=True)  # each of several workers asks for it
    try:
        key: Key = Key.fromString(path.read_bytes())
        return key
    except BadKeyError as error:
        raise ValueError(f"{path} holds no private key: {error}") from error


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()


class SshServer:
    """
    @param agents: takes its sessions. @param keys: the file of C{--ssh-keys}; None without. @param in_thread:
        reads it.
    """

    log = Logger()

    def __init__(
        self, clock: Any, store: IStore, agents: Agents, keys: Path | None, host: Key, in_thread: InThread
    ) -> None:
        self.clock = clock
        self.agents = agents
        self._store = store
        self._keys = keys
        self._host = host
        self._in_thread = in_thread

    def factory(self) -> IProtocolFactory:
        """What serves the port."""
        made: Any = _Factory(self.clock)
        made.publicKeys = {b"ssh-ed25519": self._host.public()}
        made.privateKeys = {b"ssh-ed25519": self._host}
        made.portal = Portal(_Realm(self), [_Checker(self)])
        result: IProtocolFactory = made
        return result

    async def by_password(self, name: str, token: str, peer: str) -> Token:
        """The token that is somebody's password. @raise HandshakeRefused: it is none."""
        found: Token = await self.agents.authenticate(Handshake(token, self.agent_id(name), "ssh", peer))
        return found

    async def by_key(self, blob: bytes) -> Token | None:
        """The token whose name stands behind a public key in the file."""
        if self._keys is None:
            return None
        try:
            lines = await self._in_thread(_lines, self._keys)
        except (OSError, Busy) as error:
            self.log.warn("cannot read {file}: {error!r}", file=str(self._keys), error=error)
            return None
        wanted = base64.b64encode(blob).decode()
        for line in lines:
            match line.split():
                case [kind, text, name] if text == wanted and not kind.startswith("#"):
                    tokens: list[Token] = await self._store.tokens()
                    return next((one for one in tokens if one.name == name and one.role != "viewer"), None)
        return None

    @staticmethod
    def agent_id(name: str) -> str:
        """An agent's id, by which the server remembers what it chose: the same for the same user's name."""
        return f"ssh-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class _Login(SSHUserAuthServer):
    _log = QUIET


class _Transport(SSHServerTransport):
    """One connection: bounds what a stranger takes, where Conch begins to only once keys are exchanged."""

    _log = QUIET
    _deadline: Any = None

    def connectionMade(self) -> None:
        super().connectionMade()
        transport: Any = self.transport
        # Who reads none of our answers is not read.
        transport.registerProducer(transport, True)
        factory: Any = self.factory
        self._deadline = factory.clock.callLater(LOGIN_WITHIN, transport.abortConnection)

    def setService(self, service: Any) -> None:
        if service.name == b"ssh-connection":
            cancel(self._deadline)
        super().setService(service)

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        cancel(self._deadline)
        super().connectionLost(reason)


class _Factory(SSHFactory):
    services = {b"ssh-userauth": _Login, b"ssh-connection": FlowingConnection}
    protocol = _Transport
    noisy = False
    _log = QUIET

    def __init__(self, clock: Any) -> None:
        self.clock = clock


@implementer(ICredentialsChecker)
class _Checker:
    credentialInterfaces = (IUsernamePassword, ISSHPrivateKey)

    def __init__(self, server: SshServer) -> None:
        self._server = server

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, given: Any) -> tuple[str, Token]:
        by_key, credentials = ISSHPrivateKey.providedBy(given), given
        name = credentials.username.decode("utf-8", "replace")
        try:
            if by_key:
                token = await self._server.by_key(credentials.blob)
                if token is None:
                    raise UnauthorizedLogin("the key is not in --ssh-keys")
                if not credentials.signature:
                    raise ValidPublicKey
                key = Key.fromString(credentials.blob)
                if not key.verify(credentials.signature, credentials.sigData):
                    raise UnauthorizedLogin("the signature is wrong")
            else:
                password = credentials.password.decode("utf-8", "replace")
                token = await self._server.by_password(name, password, "ssh")
        except (HandshakeRefused, StoreError, BadKeyError) as error:
            raise UnauthorizedLogin(str(error)) from error
        return name, token


@implementer(IRealm)
class _Realm:
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        name, token = avatarId
        client = SshClient(self._server, name, token)
        return IConchUser, client, client.logout


class _Control(BoundedAMP):
    """The agent's end of the control channel."""

    def __init__(self, client: SshClient) -> None:
        super().__init__()
        self._client = client

    @Drain.responder
    def drain(self) -> dict[str, str]:
        """An ssh client cannot move: its connection ends with this server."""
        self._client.say("the server restarts: start ssh again when it ends")
        return {}

    @Notice.responder
    def notice(self, code: str, text: str, tunnel: str | None = None) -> dict[str, str]:
        """See L{Notice}."""
        self._client.say(text)
        return {}


class SshClient(ConchUser):
    """
    One connection. @param name: the user's. @param token: what it showed.
    """

    log = Logger()

    def __init__(self, server: SshServer, name: str, token: Token) -> None:
        super().__init__()
        self.channelLookup[b"session"] = Terminal
        self._server = server
        self._name = name
        self._token = token
        self._session: Session | None = None
        self._control = _Control(self)
        self._opening = DeferredLock()
        self._listening: dict[str, tuple[str, int]] = {}
        self._said: list[str] = []
        self._terminal: Terminal | None = None

    # -- what the client is told ----------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell the person, if there is a terminal, now or soon."""
        if self._terminal is not None:
            self._terminal.say(text)
        elif len(self._said) < 20:
            self._said.append(text)

    def shown_on(self, terminal: Terminal) -> None:
        """A terminal is there."""
        self._terminal = terminal
        said, self._said = self._said, []
        for text in said or ["no tunnel is open: give -R 80:localhost:3000"]:
            terminal.say(text)

    # -- its tunnels ----------------------------------------------------------------------------------------

    def begin(self) -> Session:
        """The agent's session, begun with the first tunnel. @raise HandshakeRefused: there are too many."""
        if self._session is None:
            server, clock = self._server, self._server.clock
            peer = self.conn.transport.transport.getPeer()
            handshake = Handshake("", server.agent_id(self._name), "ssh", shown(peer))
            server.agents.admit(self._token, handshake)
            here = Session(clock, client=False)
            there = Session(clock, client=True, max_streams=MAX_VISITORS)
            there.listen(_Visitors(self))
            server.agents.begin(here, None, self._token, handshake)
            self._session = there
            there.on_lost.append(lambda reason: self.conn.transport.loseConnection())
            join_sessions(clock, there, here, peer)
            connectProtocol(StreamClientEndpoint(there), self._control)
        return self._session

    async def open(self, address: str, port: int) -> int:
        """Open a tunnel. @return: its port, or the one asked for. @raise BurrowError: it is refused."""
        self.begin()
        name = None if self._name == ANY else self._name
        if name is not None and self._listening:
            name = f"{name}-{port}"
        kind = "http" if port in _HTTP_PORTS else "tcp"
        options = {"port": port} if kind == "tcp" and port else {}
        answer: dict[str, Any] = await self._control.callRemote(
            OpenTunnel,
            kind=kind,
            upstream=f"ssh -R {port}",
            name=name,
            options=json.dumps(options) if options else None,
        )
        url = str(answer["url"])
        got = int(url.rpartition(":")[2]) if kind == "tcp" else port
        self._listening[str(answer["tunnel"])] = address, got
        self.say(url)
        return got

    def visit(self, visitor: Visitor, head: VisitorHead) -> bool:
        """A visitor came. @return: whether there is a tunnel for it."""
        listening = self._listening.get(head.tunnel)
        if listening is None:
            return False
        channel_for(visitor, head, listening, self.conn)
        return True

    def forward(self, data: bytes, reply: Any) -> None:
        """The client wants a port forwarded. @param reply: called with the answer's type and data."""
        address, port = unpackGlobal_tcpip_forward(data)
        where = address if isinstance(address, str) else address.decode("latin-1")
        opening = self._opening.run(lambda: Deferred.fromCoroutine(self.open(where, port)))

        def opened(got: int) -> None:
            reply(MSG_REQUEST_SUCCESS, struct.pack(">L", got) if port == 0 else b"")

        def refused(reason: Any) -> None:
            if not reason.check(BurrowError, HandshakeRefused):
                self.log.failure("cannot open a tunnel for an ssh client", reason)
            self.say(f"-R {port}: {reason.getErrorMessage()}")
            reply(MSG_REQUEST_FAILURE, b"")

        opening.addCallbacks(opened, refused)

    def logout(self) -> None:
        """The connection is lost."""
        session, self._session = self._session, None
        if session is not None and not session.lost:
            session.close("the ssh client left")


class _Visitors(Factory):
    """Takes the streams of visitors."""

    noisy = False

    def __init__(self, client: SshClient) -> None:
        self._client = client

    def buildProtocol(self, addr: Any) -> Visitor:
        return Visitor(self._client.visit)
