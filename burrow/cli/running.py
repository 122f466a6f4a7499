"""C{burrow run}: a program that opens a port, and a tunnel to it, which begin and end together."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from burrow.addresses import parse_port
from burrow.cli.parsing import typed
from burrow.cli.run import complain, run
from burrow.client.agent import Agent
from burrow.client.config import ClientConfig
from burrow.client.inspect.service import make_inspector
from burrow.client.service import make_agent
from burrow.client.settings import client_settings
from burrow.client.tunnels import TunnelRequest, tunnel_request
from burrow.client.wanted import Opened
from burrow.descriptors import limit
from burrow.errors import BurrowError, ConfigError
from burrow.options import add_arguments, flags_given
from burrow.program.child import Child, PortWatch, program_path
from burrow.program.late import LateKind, LateUpstream
from burrow.protocols.upstream import Upstream

_OPTIONS = [each for each in ClientConfig.__dataclass_fields__ if each not in ("no_retry", "stop_grace")]


class _Ended(BurrowError):
    """The program has ended. @ivar exit_code: its own."""

    told = True

    def __init__(self, code: int) -> None:
        super().__init__(f"the program ended with exit code {code}")
        self.exit_code = code


def add_run(commands: Any) -> None:
    """C{burrow run}."""
    parser = commands.add_parser(
        "run",
        help="start a program, and open a URL for its port",
        description="Open a URL, start a program with it in BURROW_URL, and lead the URL to the port that "
        "the program opens, as in `burrow run --name blog -- uvicorn app:app --port 8000`. Both end "
        "together, with the program's exit code. On Linux the port is found; elsewhere say it with --port.",
    )
    parser.add_argument(
        "command", nargs="+", metavar="COMMAND", help="the program and its arguments, behind --"
    )
    parser.add_argument("--name", help="the name to have (default: one that the server chooses)")
    parser.add_argument(
        "--port",
        type=typed(parse_port),
        help="the port that the program opens (default: the first that it is seen to listen on)",
    )
    add_arguments(parser, ClientConfig, _OPTIONS)
    parser.set_defaults(run=run_program)


def run_program(arguments: argparse.Namespace) -> int:
    """Run it; the exit code is the program's."""
    if arguments.name == "":
        raise ConfigError('--name "" is not possible: write a name, or leave --name away')
    config, _ = client_settings(flags_given(arguments, ClientConfig), os.environ, None)
    program_path(arguments.command)
    if arguments.port is None and not sys.platform.startswith("linux"):
        raise ConfigError("which port? It is found on Linux alone: say it with --port")
    found = None if arguments.port is None else Upstream.parse(str(arguments.port), ("http",))
    upstream = LateUpstream(f"program:{os.path.basename(arguments.command[0])}"[:200], found)
    named = tunnel_request("http", "1", arguments.name, {}).name  # as of any tunnel, so that it is checked
    request = TunnelRequest(LateKind(), upstream, named)
    files = limit()

    async def main(reactor: Any) -> None:
        await _main(reactor, config, request, upstream, arguments.command, files)

    return run(main, log_level=config.log_level, brief=True)


async def _main(
    reactor: Any,
    config: ClientConfig,
    request: TunnelRequest,
    upstream: LateUpstream,
    command: list[str],
    files: int | None,
) -> None:
    agent = make_agent(reactor, config, os.environ, [request])
    inspector = make_inspector(agent, config, os.environ)
    opened = await _open(agent)
    changed = files if limit() != files else None
    child = Child(
        reactor, command, {**os.environ, "BURROW_URL": opened.url, "BURROW_NAME": opened.name}, changed
    )

    def found(where: str) -> None:
        upstream.found = Upstream.parse(where, ("http",))
        complain(f"{opened.url} is {where}")

    watch = PortWatch(reactor, lambda: child.pid, command, found)
    try:
        if inspector is not None:
            # What it is replayed to is known late: the tunnel's own upstream is none that it knows.
            inspector.upstream_of = lambda tunnel: upstream.found  # type: ignore[method-assign]
            inspector.startService()
        shown = f"; its requests are at {inspector.url}" if inspector is not None and inspector.url else ""
        complain(f"{opened.url} is for {command[0]}{shown}")
        agent.on_event.append(_tell)
        child.start()
        child.pass_signals()
        if upstream.found is None:
            watch.start()
        code = await child.ended
    finally:
        watch.stop()
        agent.stop_grace = 0.0  # nobody is left to answer
        await agent.stopService()
        if inspector is not None:
            await inspector.stop()
    if code:
        raise _Ended(code)


async def _open(agent: Agent) -> Opened:
    """Start an agent. @raise BurrowError: its tunnel does not open, so the program is not started."""
    first: Deferred[Opened] = Deferred()
    agent.retry = False  # a program that waits for its URL is no help

    def opened(one: Opened) -> None:
        if not first.called:
            agent.retry = True
            first.callback(one)

    def ended(result: Any) -> None:
        failed = isinstance(result, Failure)
        if not first.called:
            first.errback(result if failed else BurrowError("the tunnel was closed"))
        elif failed:
            complain(f"the tunnel is closed: {result.getErrorMessage()}; the program runs on without it")

    agent.on_opened.append(opened)
    agent.done.addBoth(ended)
    agent.startService()
    try:
        return await first
    except BaseException:
        await agent.stopService()
        raise


def _tell(event: str, text: str) -> None:
    if event in ("connected", "disconnected", "refused", "notice", "warning"):
        complain(text)
