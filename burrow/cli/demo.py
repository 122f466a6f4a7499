"""C{burrow demo}: a web app, a server and an agent in one process, and one request through them."""

from __future__ import annotations

import argparse
import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent as HttpAgent
from twisted.web.client import readBody
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from burrow.addresses import ListenAddress
from burrow.cli.run import complain, run, say
from burrow.cli.screen import Screen
from burrow.cli.together import Together, add_local_options, local_config
from burrow.client.screen.terminal import can_show
from burrow.client.tunnels import tunnel_request
from burrow.client.wanted import Opened
from burrow.errors import ConfigError, ServerUnreachable
from burrow.hangup import stop_on_hangup
from burrow.identity import client_tls
from burrow.server.config import ServerConfig
from burrow.traffic.hub import Listener
from burrow.traffic.record import Record
from burrow.trust import trust_root

_PATIENCE = 30.0
"""Seconds that C{demo --check} gives everything to start."""


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
    add_local_options(parser)
    parser.set_defaults(run=demo)


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


class _Before(Listener):
    """Keeps the last requests that come before there is a screen. @ivar records: these."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=100)

    def begun(self, record: Record) -> None:
        """See L{Listener.begun}."""
        self.records.append(record)


@implementer(IAgentEndpointFactory)
class _Loopback:
    """Connects to the demo's server on the loopback, without asking a resolver for *.localhost."""

    def __init__(self, reactor: Any, ca_file: Path) -> None:
        self._reactor = reactor
        self._trust = trust_root(ca_file)

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """The loopback, with TLS for the URI's host."""
        plain = TCP4ClientEndpoint(self._reactor, "127.0.0.1", uri.port)
        endpoint: IStreamClientEndpoint = wrapClientTLS(client_tls(uri.host.decode(), self._trust), plain)
        return endpoint


async def _start_on_a_free_port(reactor: Any, config: ServerConfig, asked: bool) -> Together:
    together = Together(reactor, config)
    try:
        await together.start()
    except ConfigError:
        if asked:
            raise
        # Another program has the default port: the demo runs on any.
        together = Together(reactor, replace(config, https=ListenAddress("127.0.0.1", 0)))
        await together.start()
    return together


def demo(arguments: argparse.Namespace) -> int:
    """C{burrow demo}."""
    config = local_config(arguments)
    screen = Screen(as_json=False)

    async def main(reactor: Any) -> None:
        stop_on_hangup(reactor)
        app = reactor.listenTCP(0, Site(_DemoPage()), interface="127.0.0.1")
        together = await _start_on_a_free_port(reactor, config, bool(arguments.https))
        try:
            request = tunnel_request("http", str(app.getHost().port), "demo", {})
            agent = await together.agent([request])
            shown = _Before()
            agent.traffic.add(shown)
            opened: Deferred[Opened] = Deferred()
            agent.on_opened.append(lambda tunnel: None if opened.called else opened.callback(tunnel))
            agent.on_event.append(_complain)
            agent.done.addErrback(lambda reason: reason if opened.called else opened.errback(reason))
            if arguments.check:
                opened.addTimeout(_PATIENCE, reactor)
            agent.startService()
            try:
                try:
                    tunnel = await opened
                except TimeoutError as error:
                    raise ServerUnreachable(f"no tunnel was open after {_PATIENCE:.0f} seconds") from error
                say(f"{tunnel.url} leads to a web app at {request.upstream}")
                await _show(reactor, tunnel.url, together.server.certificates.ca_file)
                agent.traffic.remove(shown)
                if not arguments.check and can_show(os.environ):
                    agent.on_event.remove(_complain)
                    screen.watch(agent, shown.records)
                    screen.opened(tunnel)
                    screen.tell(f"Browsers believe it once they trust {together.server.certificates.ca_file}")
                    await Deferred()
                elif not arguments.check:
                    say("Press Ctrl-C to end.")
                    await Deferred()
            finally:
                screen.close()
                await agent.stopService()
        finally:
            await app.stopListening()
            await together.stop()

    return run(main, log_level=config.log_level)


def _complain(event: str, text: str) -> None:
    if event != "connected":
        complain(text)


async def _show(reactor: Any, url: str, ca_file: Path) -> None:
    """Make one request through the tunnel, and show its answer. @raise ServerUnreachable: it failed."""
    client = HttpAgent.usingEndpointFactory(reactor, _Loopback(reactor, ca_file))
    response = await client.request(b"GET", url.encode())
    body = (await readBody(response)).decode("utf-8", "replace")
    say(f"GET {url}/ answers {response.code} {response.phrase.decode()}:\n{body.rstrip()}")
    if response.code != 200 or "It works" not in body:
        raise ServerUnreachable("the request through the tunnel failed")
    say(f"A browser believes it once it trusts {ca_file}")
