"""C{burrow up} and C{burrow demo}: a server and its agent in one process, on the loopback alone."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import Agent as HttpAgent
from twisted.web.client import readBody
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from burrow.cli.run import complain, run, say
from burrow.cli.screen import Screen
from burrow.cli.tunnel import live
from burrow.client.agent import Agent
from burrow.client.identity import agent_id
from burrow.client.tunnels import TunnelRequest, tunnel_request
from burrow.errors import BurrowError, ConfigError, ServerUnreachable
from burrow.folders import state_folder
from burrow.hangup import stop_on_hangup
from burrow.link.address import Credentials, ServerAddress
from burrow.options import add_arguments, load
from burrow.server.config import ServerConfig
from burrow.server.service import BurrowServer
from burrow.store.base import IStore
from burrow.store.tokens import check_token, make_token, rotated
from burrow.trust import trust_root

_PATIENCE = 30.0
"""Seconds that C{demo --check} gives everything to start."""

_OPTIONS = ("https", "state", "stop_grace", "log_level")
"""The server's options that are of use on one machine."""

_TOKEN_FILE, _TOKEN_NAME = "local-token", "local"


def add_up(commands: Any) -> None:
    """C{burrow up}."""
    parser = commands.add_parser(
        "up",
        help="open tunnels without a server elsewhere",
        description="Run a server and an agent in one process, on this machine alone, under *.localhost.",
    )
    parser.add_argument(
        "upstreams", nargs="+", metavar="UPSTREAM", help="what to open: PORT, HOST:PORT, a URL or unix:/PATH"
    )
    parser.add_argument("--name", help="the name to have, with one UPSTREAM (default: one that is chosen)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")
    _common(parser)
    parser.set_defaults(run=up)


def add_demo(commands: Any) -> None:
    """C{burrow demo}."""
    parser = commands.add_parser(
        "demo",
        help="see it work: a web app, a server and an agent in one process",
        description="Start a small web app, open a tunnel to it, and make one request through the tunnel.",
    )
    parser.add_argument(
        "--check", action="store_true", help="end after that request, with exit code 0 if it worked"
    )
    _common(parser)
    parser.set_defaults(run=demo)


def _common(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser, ServerConfig, _OPTIONS)


def _config(arguments: argparse.Namespace) -> ServerConfig:
    flags = {name: value for name, value in vars(arguments).items() if name in _OPTIONS}
    config = load(ServerConfig, flags, os.environ, only=_OPTIONS)
    listen = config.https_listen
    if not listen:
        raise ConfigError("--https off is not possible here: the tunnels are served there")
    return replace(config, https=listen, http="", state=config.state or state_folder() / "up")


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
    """A server and its agent in one process."""

    def __init__(self, reactor: Any, config: ServerConfig) -> None:
        self._reactor = reactor
        self._config = config
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


def up(arguments: argparse.Namespace) -> int:
    """C{burrow up UPSTREAM...}."""
    config = _config(arguments)
    if arguments.name == "":
        raise ConfigError('--name "" is not possible: write a name, or leave --name away')
    if arguments.name and len(arguments.upstreams) > 1:
        raise ConfigError("--name is for one upstream, and there are more")
    requests = [tunnel_request("http", upstream, arguments.name, {}) for upstream in arguments.upstreams]
    screen = Screen(as_json=arguments.json)

    async def main(reactor: Any) -> None:
        stop_on_hangup(reactor)
        together = Together(reactor, config)
        try:
            await together.start()
            agent = await together.agent(requests)
            screen.watch(agent)
            if not arguments.json:
                say(f"Browsers believe these URLs once they trust {together.server.certificates.ca_file}")
            await live(agent)
        except BurrowError as error:
            screen.failed(error)
            raise
        finally:
            await together.stop()

    return run(main, log_level=config.log_level)


class _DemoPage(Resource):
    """The small web app of the demo."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """One page, whatever the path."""
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        visitor = (request.getHeader(b"x-forwarded-for") or b"nobody").decode("latin-1")
        return (
            "<!doctype html><title>Burrow demo</title>"
            "<h1>It works</h1><p>This page came from a web app on this machine, through a Burrow tunnel, "
            f"to a visitor at {visitor}.</p>\n"
        ).encode()


@implementer(IAgentEndpointFactory)
class _Loopback:
    """Connects to the demo's server on the loopback, without asking a resolver for *.localhost."""

    def __init__(self, reactor: Any, ca_file: Path) -> None:
        self._reactor = reactor
        self._trust = trust_root(ca_file)

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """The loopback, with TLS for the URI's host."""
        plain = TCP4ClientEndpoint(self._reactor, "127.0.0.1", uri.port)
        endpoint: IStreamClientEndpoint = wrapClientTLS(
            optionsForClientTLS(uri.host.decode(), trustRoot=self._trust), plain
        )
        return endpoint


async def _start_on_a_free_port(reactor: Any, config: ServerConfig, asked: bool) -> Together:
    together = Together(reactor, config)
    try:
        await together.start()
    except ConfigError:
        if asked:
            raise
        # Another program has the default port: the demo runs on any.
        together = Together(reactor, replace(config, https="127.0.0.1:0"))
        await together.start()
    return together


def demo(arguments: argparse.Namespace) -> int:
    """C{burrow demo}."""
    config = _config(arguments)

    async def main(reactor: Any) -> None:
        stop_on_hangup(reactor)
        app = reactor.listenTCP(0, Site(_DemoPage()), interface="127.0.0.1")
        together = await _start_on_a_free_port(reactor, config, bool(arguments.https))
        try:
            request = tunnel_request("http", str(app.getHost().port), "demo", {})
            agent = await together.agent([request])
            opened: Deferred[str] = Deferred()
            agent.on_opened.append(lambda tunnel: None if opened.called else opened.callback(tunnel.url))
            agent.on_event.append(lambda event, text: complain(text) if event != "connected" else None)
            agent.done.addErrback(lambda reason: reason if opened.called else opened.errback(reason))
            if arguments.check:
                opened.addTimeout(_PATIENCE, reactor)
            agent.startService()
            try:
                try:
                    url = await opened
                except TimeoutError as error:
                    raise ServerUnreachable(f"no tunnel was open after {_PATIENCE:.0f} seconds") from error
                say(f"{url} leads to a web app at {request.upstream}")
                await _show(reactor, url, together.server.certificates.ca_file)
                if not arguments.check:
                    say("Press Ctrl-C to end.")
                    await Deferred()
            finally:
                await agent.stopService()
        finally:
            await app.stopListening()
            await together.stop()

    return run(main, log_level=config.log_level)


async def _show(reactor: Any, url: str, ca_file: Path) -> None:
    """Make one request through the tunnel, and show its answer. @raise ServerUnreachable: it failed."""
    client = HttpAgent.usingEndpointFactory(reactor, _Loopback(reactor, ca_file))
    response = await client.request(b"GET", url.encode())
    body = (await readBody(response)).decode("utf-8", "replace")
    say(f"GET {url}/ answers {response.code} {response.phrase.decode()}:\n{body.rstrip()}")
    if response.code != 200 or "It works" not in body:
        raise ServerUnreachable("the request through the tunnel failed")
    say(f"A browser believes it once it trusts {ca_file}")
