"""C{burrow doctor}: from this machine's configuration to the server, and to the upstreams."""

from __future__ import annotations

import argparse
import os
from functools import partial
from typing import Any

from burrow.cli.doctor.findings import Finding, Findings, Level, Wrong
from burrow.cli.doctor.network import Way
from burrow.cli.run import run
from burrow.client.config import ClientConfig
from burrow.client.settings import client_settings, credentials_of
from burrow.client.tunnels import TunnelRequest, tunnel_request
from burrow.errors import BurrowError, Refused
from burrow.link.address import Credentials
from burrow.link.dial import Dialer
from burrow.options import flags_given
from burrow.protocols.forward import Connectors
from burrow.protocols.upstream import Upstream
from burrow.wording import count_of

_STEPS = ("proxy", "DNS", "port", "certificate", "server")


def check_agent(arguments: argparse.Namespace) -> int:
    """Check what an agent needs. @return: the exit code: see L{Findings.end}."""
    findings = Findings(as_json=arguments.json)
    read: list[tuple[Credentials, list[TunnelRequest]]] = []

    def configuration() -> str:
        try:
            config, tunnels = client_settings(
                flags_given(arguments, ClientConfig), os.environ, arguments.config
            )
            requests = list(tunnels.values())
            requests += [tunnel_request("tcp", each, None, {}) for each in arguments.upstreams]
            credentials = credentials_of(config, os.environ)
        except BurrowError as error:
            text, _, advice = str(error).partition("? ")
            raise Wrong(text + ("?" if advice else ""), advice or "correct that") from error
        read.append((credentials, requests))
        return f"the server is {credentials.address}; {count_of(len(tunnels), 'tunnel')} in the file"

    if not findings.check("configuration", configuration):
        return findings.end()
    credentials, requests = read[0]
    way = Way(credentials.address, credentials.ca_file)
    work = (way.choose_proxy, way.look_up, way.connect, way.verify, way.ask_health)
    for number, (name, step) in enumerate(zip(_STEPS, work, strict=True)):
        reachable = findings.check(name, step, needs=_STEPS[:number])
    findings.check("clock", way.compare_clocks, needs=("server",))
    for request in requests:
        if request.name is not None and "." in request.name.removeprefix("*."):
            findings.check("domain", partial(way.domain, request.name), needs=("DNS",))

    async def main(reactor: Any) -> None:
        if reachable:
            findings.add(await _token(reactor, credentials))
        else:
            findings.add(Finding("token", Level.SKIPPED, "cannot be checked before the server is reached"))
        for request in requests:
            findings.add(await _upstream(reactor, request))

    return run(main, log_level="error", brief=True) or findings.end()


async def _token(reactor: Any, credentials: Credentials) -> Finding:
    """Whether the server accepts the token, over a WebSocket."""
    try:
        linked = await Dialer(reactor, credentials).dial()
    except Refused as error:
        advice = "ask the server's owner for a token: `burrow token create NAME` makes one"
        return Finding("token", Level.FAILED, str(error), advice)
    except BurrowError as error:
        advice = "a proxy before the server has to pass WebSockets on: see docs/nginx.md"
        return Finding("token", Level.FAILED, str(error), advice)
    await linked.say_goodbye(reactor, "the token was checked")
    return Finding("token", Level.OK, "the server accepts it, and WebSockets pass")


async def _upstream(reactor: Any, request: TunnelRequest) -> Finding:
    """Whether something listens where a tunnel leads."""
    upstream = request.upstream
    if not isinstance(upstream, Upstream):
        return Finding("upstream", Level.OK, f"{upstream} needs no service that listens")
    if upstream.scheme == "udp":
        return Finding(
            "upstream", Level.OK, f"whether {upstream} answers cannot be asked: UDP has no connections"
        )
    try:
        end = await Connectors.get(reactor, upstream).connect()
    except BurrowError as error:
        advice = f"visitors get an error page until {upstream} answers"
        return Finding("upstream", Level.WARNING, str(error), advice)
    end.transport.abortConnection()
    return Finding("upstream", Level.OK, f"something listens on {upstream}")
