"""
Agents that are a plain C{ssh -R} (C{--ssh}): nothing has to be installed beside OpenSSH.

    ssh -R 80:localhost:3000 -p 2222 NAME@example.com

An SSH connection is an agent's session inside this process: its two ends are joined in memory, so that a
token's limits and its end, names, the admin API and everything else are those of any agent. Each C{-R} is a
tunnel: of kind http for the ports 80 and 443, else of kind tcp. A visitor's stream is a channel to the client
(RFC 4254 section 7.2), which connects to the service itself.

The user's name is the name that is wanted; L{ANY<burrow.server.ssh.client.ANY>} leaves the choice to the
server. The password is a token; or a key is one that the file of C{--ssh-keys} has, with the name of a token
behind it.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from burrow.folders import write_whole
from burrow.link.accept import Handshake
from burrow.policy.means import Busy, InThread
from burrow.server.agents import Agents
from burrow.server.ssh.client import SshClient, agent_id
from burrow.server.ssh.connections import Connections
from burrow.server.ssh.login import LoginFactory
from burrow.store.base import IStore, Token


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
        reads it. @param connections: gets those that are open.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        store: IStore,
        agents: Agents,
        keys: Path | None,
        host: Key,
        in_thread: InThread,
        connections: Connections,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._agents = agents
        self._store = store
        self._keys = keys
        self._host = host
        self._in_thread = in_thread

    def factory(self) -> IProtocolFactory:
        """What serves the port."""
        made: Any = LoginFactory(
            self._clock, self._host, self.by_password, self.by_key, self._client, self._connections
        )
        result: IProtocolFactory = made
        return result

    def _client(self, name: str, token: Token) -> SshClient:
        return SshClient(self._clock, self._agents, name, token)

    async def by_password(self, name: str, token: str) -> Token:
        """The token that is somebody's password. @raise HandshakeRefused: it is none."""
        found: Token = await self._agents.authenticate(Handshake(token, agent_id(name), "ssh", "ssh"))
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
