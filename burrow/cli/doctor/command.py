"""The command line of C{burrow doctor}."""

from __future__ import annotations

from typing import Any

from burrow.cli.doctor.agent import check_agent
from burrow.cli.doctor.server import check_server_machine
from burrow.cli.parsing import typed
from burrow.client.config import ClientConfig
from burrow.options import add_arguments
from burrow.server.config import ServerConfig
from burrow.values import parse_path

_CLIENT = ("server", "token", "token_file", "insecure", "ca_file")
_JSON = "print one JSON object a line, for programs"


def add_doctor(commands: Any) -> None:
    """C{burrow doctor agent|server}."""
    parser = commands.add_parser(
        "doctor",
        help="check what may be wrong, on an agent's machine or a server's",
        description="Check each step between here and a URL that works, and say what to do about what does "
        "not. It changes nothing. `burrow doctor` alone checks the agent. The exit code is 1 if a check "
        "failed.",
    )
    parser.set_defaults(run=check_agent, upstreams=[], config=None, json=False)
    actions = parser.add_subparsers(metavar="ROLE")
    agent = actions.add_parser("agent", help="check this machine's agent, its server and its upstreams")
    agent.add_argument(
        "upstreams", nargs="*", metavar="UPSTREAM", help="one to check beside those of the file"
    )
    add_arguments(agent, ClientConfig, only=_CLIENT)
    agent.set_defaults(run=check_agent)
    server = actions.add_parser("server", help="check what the server on this machine needs")
    add_arguments(server, ServerConfig)
    server.set_defaults(run=check_server_machine)
    for action, whose in ((agent, "agent"), (server, "server")):
        action.add_argument("--config", type=typed(parse_path), metavar="FILE", help=f"the {whose}'s file")
        action.add_argument("--json", action="store_true", help=_JSON)
