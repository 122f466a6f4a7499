"""C{burrow connect}: reaches a private tunnel, by a local port or standard input and output."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from burrow.addresses import ListenAddress
from burrow.cli.parsing import typed
from burrow.cli.remote import OF_SERVER
from burrow.cli.run import complain, run, say
from burrow.client.agent import Agent
from burrow.client.config import ClientConfig, parse_local
from burrow.client.connecting import Connector
from burrow.client.local_port import LocalPort
from burrow.client.settings import client_settings, looking_credentials
from burrow.client.socks import SUFFIX, SocksPort
from burrow.client.standard import Blocking, StandardEnd, connect_standard
from burrow.errors import BurrowError, ConfigError, UsageError
from burrow.hangup import stop_on_hangup
from burrow.options import add_arguments, flags_given
from burrow.values import parse_name
from burrow.wording import count_of

_OPTIONS = (*OF_SERVER, "no_retry", "stop_grace", "log_level")


class BrokenOff(BurrowError):
    """What ran through a tunnel ended before its end."""


def add_connect(commands: Any) -> None:
    """C{burrow connect NAME}."""
    parser = commands.add_parser(
        "connect",
        help="reach a private tunnel, by a local port or as ssh's ProxyCommand",
        description="Reach a private tunnel, which somebody opened with --private and the same token, or "
        "with --allow-token and the name of yours. For ssh: ssh -o ProxyCommand='burrow connect box --stdio' "
        "me@box",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="the tunnel's name, as in box of private://box; not with --socks",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--listen",
        type=typed(parse_local),
        metavar="[HOST:]PORT",
        help="join each connection to this port to the tunnel, or for a tunnel of kind udp the datagrams of "
        "each socket to this UDP port (alone a PORT is on the loopback, :PORT on all interfaces: whoever "
        "reaches it, reaches the tunnel)",
    )
    where.add_argument(
        "--stdio", action="store_true", help="join standard input and output to the tunnel, and end with it"
    )
    where.add_argument(
        "--socks",
        type=typed(parse_local),
        metavar="[HOST:]PORT",
        help="be a SOCKS5 proxy, by which all private tunnels that the token may use are reached as "
        "NAME.burrow",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="with --listen or --socks, print one JSON object a line, for programs",
    )
    add_arguments(parser, ClientConfig, only=_OPTIONS)
    parser.set_defaults(run=connect)


def connect(arguments: argparse.Namespace) -> int:
    """C{burrow connect NAME}."""
    if arguments.socks is not None:
        if arguments.name is not None:
            raise UsageError(f"--socks leads to all private tunnels: leave {arguments.name} out")
        config, _ = client_settings(flags_given(arguments, ClientConfig), os.environ, None)
        return run(
            lambda reactor: _Listener(reactor, config, arguments.socks, "", arguments.json).serve(),
            log_level=config.log_level,
        )
    if arguments.name is None:
        raise UsageError("which tunnel? Give its NAME, as in `burrow connect box --stdio`")
    try:
        name = parse_name(arguments.name.removeprefix("private://"))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if arguments.json and arguments.stdio:
        raise UsageError("--json is for --listen: with --stdio, standard output is the tunnel's")
    config, _ = client_settings(flags_given(arguments, ClientConfig), os.environ, None)
    if arguments.stdio:
        return _standard(config, name)
    return run(
        lambda reactor: _Listener(reactor, config, arguments.listen, name, arguments.json).serve(),
        log_level=config.log_level,
    )


def _make_agent(reactor: Any, config: ClientConfig, *, retry: bool, stop_grace: float) -> Agent:
    """An agent without tunnels. Its id is its own, so that it never takes another's place."""
    credentials = replace(looking_credentials(config), agent=secrets.token_hex(8))
    return Agent(reactor, credentials, [], retry=retry, stop_grace=stop_grace)


async def _until_done(agent: Agent, other: Deferred[Any]) -> Any:
    """Wait for C{other}. @raise BurrowError: the agent ended with it before."""
    first: Deferred[Any] = Deferred()

    def end(result: Any) -> None:
        if not first.called:
            first.callback(result)

    agent.done.addErrback(end)
    other.addBoth(end)
    try:
        return await first
    finally:
        other.cancel()


# -- standard input and output -------------------------------------------------------------------------


def _standard(config: ClientConfig, name: str) -> int:
    blocking = Blocking()
    try:
        return run(lambda reactor: _join_standard(reactor, config, name), log_level=config.log_level)
    finally:
        blocking.restore()


async def _join_standard(reactor: Any, config: ClientConfig, name: str) -> None:
    """@raise BurrowError: the tunnel cannot be reached, or was broken off."""
    stop_on_hangup(reactor)
    # Who starts this waits for it: so a server that cannot be reached is told at once, while one that is lost
    # later is waited for.
    agent = _make_agent(reactor, config, retry=False, stop_grace=0.0)
    agent.on_event.append(lambda event, text: _settle(agent, config, event))
    end = StandardEnd()
    connect_standard(reactor, end)
    agent.startService()
    try:
        remote = await _until_done(agent, Deferred.fromCoroutine(Connector(agent).connect(name, end)))
        broken = await _until_done(agent, remote.closed)
        await end.done
        if broken:
            raise BrokenOff(
                f"{broken}: what {name} leads to refused it, or its agent or the server was lost for too long"
            )
    finally:
        await agent.stopService()


def _settle(agent: Agent, config: ClientConfig, event: str) -> None:
    if event == "connected":
        agent.retry = not config.no_retry


# -- a local port ---------------------------------------------------------------------------------------


class _Listener:
    """
    Serves a local port, and tells what happens.

    @param name: the tunnel's; empty for all by SOCKS.
    """

    def __init__(
        self, reactor: Any, config: ClientConfig, listen: ListenAddress, name: str, as_json: bool
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._json = as_json
        self._connected: Deferred[None] = Deferred()
        self._agent = _make_agent(reactor, config, retry=not config.no_retry, stop_grace=config.stop_grace)
        self._agent.on_event.append(self._event)
        connector = Connector(self._agent)
        self._port: LocalPort | SocksPort
        if name:
            self._port = LocalPort(connector, name, listen, self._refused)
        else:
            self._port = SocksPort(connector, listen, self._refused)

    async def serve(self) -> None:
        """Serve until the command is stopped. @raise BurrowError: the port is busy, or the agent ended."""
        stop_on_hangup(self._reactor)
        self._port.open()
        self._agent.startService()
        beginning = Deferred.fromCoroutine(self._begin())
        ending: Deferred[Any] = Deferred()

        def end(result: Any) -> None:
            if not ending.called:
                ending.callback(result)

        self._agent.done.addBoth(end)
        beginning.addErrback(end)
        try:
            await ending
        except BurrowError as error:
            if self._json:
                self._emit("error", error=type(error).__name__, message=str(error))
            raise
        finally:
            beginning.cancel()
            dropped = await self._port.close()
            if dropped:
                self._tell(
                    "dropped", f"{count_of(dropped, 'datagram')} came too late and were dropped", dropped
                )
            await self._agent.stopService()

    async def _begin(self) -> None:
        """Say when the tunnel can be used. @raise ConfigError: its port cannot be opened."""
        await self._connected
        await self._port.settle()
        address, scheme, name = str(self._port.address), self._port.scheme, self._name
        url = f"private://{name or 'NAME'}"
        if not self._json:
            say(f"{scheme}://{address} -> {url}{'' if name else f', as NAME{SUFFIX}'}")
        elif name:
            self._emit("ready", kind="connect", name=name, url=url, listen=address, scheme=scheme)
        else:
            self._emit("ready", kind="connect", socks=address)

    def _event(self, event: str, text: str) -> None:
        if event == "connected" and not self._connected.called:
            self._connected.callback(None)
        else:
            self._tell(event, text)

    def _refused(self, reason: Failure) -> None:
        """A connection was not joined."""
        text = reason.getErrorMessage() if reason.check(BurrowError) else f"unexpected: {reason.value!r}"
        self._tell("refused", text)

    def _tell(self, event: str, text: str, count: int | None = None) -> None:
        if self._json:
            self._emit(event, message=text, **({} if count is None else {"count": count}))
        else:
            complain(text)

    def _emit(self, event: str, **fields: Any) -> None:
        say(json.dumps({"event": event, **fields}))
