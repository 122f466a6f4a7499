"""A server and its agent in one process, on the loopback: what C{burrow up} and C{burrow demo} run."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from burrow.client.agent import Agent
from burrow.client.identity import agent_id
from burrow.client.tunnels import TunnelRequest
from burrow.errors import ConfigError
from burrow.folders import state_folder
from burrow.link.address import Credentials, ServerAddress
from burrow.options import add_arguments, flags_given, load
from burrow.server.config import ServerConfig
from burrow.store.base import IStore
from burrow.store.tokens import check_token, make_token, rotated

_OPTIONS = ("https", "state", "stop_grace", "log_level")
_TOKEN_FILE, _TOKEN_NAME = "local-token", "local"


def add_local_options(parser: argparse.ArgumentParser) -> None:
    """The server's options that are of use on one machine."""
    add_arguments(parser, ServerConfig, _OPTIONS)


def local_config(arguments: argparse.Namespace) -> ServerConfig:
    """
    The configuration of a server on this machine. Its state is in a folder of its own.

    @raise ConfigError: an option has a value that is not possible.
    """
    config = load(ServerConfig, flags_given(arguments, ServerConfig), os.environ, only=_OPTIONS)
    listen = config.https_listen
    if not listen:
        raise ConfigError("--https off is not possible here: the tunnels are served there")
    return replace(config, https=listen, http="off", state=config.state or state_folder() / "up")


async def _own_token(store: IStore, folder: Path) -> str:
    """
    The token of this machine's agent. It is kept in a file in the state folder. If that is lost, the token
    gets another secret: names belong to the token's id, so the agent keeps them.
    """
    path = folder / _TOKEN_FILE
    if path.exists():
        text = path.read_text(encoding="ascii").strip()
        if await check_token(store, text) is not None:
            return text
    known = next((token for token in await store.tokens() if token.name == _TOKEN_NAME), None)
    if known is None:
        text, token = make_token(_TOKEN_NAME, "agent", time.time())
        await store.add_token(token)
    else:
        text, digest = rotated(known)
        await store.change_token(_TOKEN_NAME, {"digest": digest})
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text + "\n")
    return text


class Together:
    """A server and its agent in one process. @param config: see L{local_config}."""

    def __init__(self, reactor: Any, config: ServerConfig) -> None:
        self._reactor = reactor
        self._config = config
        # Here, since most commands need no server, and its modules take half a second to load.
        from burrow.server.service import BurrowServer

        self.server = BurrowServer(reactor, config)

    async def start(self) -> None:
        """Start the server."""
        self.server.startService()
        await self.server.ready

    async def agent(self, requests: list[TunnelRequest]) -> Agent:
        """An agent of the server's, not started."""
        url = self.server.site.own_url
        token = await _own_token(self.server.store, self._config.state_dir)
        credentials = Credentials(
            ServerAddress.parse(url),
            token,
            agent_id(self._config.state_dir),
            self.server.certificates.ca_file,
        )
        return Agent(self._reactor, credentials, requests, stop_grace=self._config.stop_grace)

    async def stop(self) -> None:
        """Stop the server."""
        await self.server.stopService()
