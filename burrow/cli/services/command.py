"""The command line of C{burrow service}."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from pathlib import Path
from typing import Any

from burrow.cli.parsing import typed
from burrow.cli.run import say
from burrow.cli.services.managers import Launchd, manager
from burrow.cli.services.units import STATE, Job
from burrow.client.settings import client_settings, looking_credentials
from burrow.errors import ConfigError
from burrow.server.reading import server_config
from burrow.values import parse_path

_ROLES = ("agent", "server")

_PASSED = ("XDG_CONFIG_HOME", "XDG_STATE_HOME")
"""Variables that say where files are, which a service would not have."""


def add_service(commands: Any) -> None:
    """C{burrow service install|uninstall|status}."""
    parser = commands.add_parser(
        "service",
        help="have agent or server run always, by systemd or launchd",
        description="Have this machine run `burrow start`, or a server, always: a unit of the user for the "
        "agent, of the system for the server; on macOS likewise by launchd. The token stays in the file that "
        "`burrow login` wrote.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    install = actions.add_parser(
        "install",
        help="start it now, and always when the machine or the user's session starts",
        description="Write what systemd or launchd is told, and start the service. Once more, it is written "
        "anew and started anew.",
    )
    install.add_argument(
        "--config",
        type=typed(parse_path),
        metavar="FILE",
        help="the configuration file of the agent (default: config.toml in the config folder) or the server",
    )
    install.add_argument(
        "--print", action="store_true", dest="only_print", help="print what would be written, and do nothing"
    )
    install.set_defaults(run=service_install)
    uninstall = actions.add_parser("uninstall", help="stop it, and start it no more")
    uninstall.set_defaults(run=service_uninstall)
    status = actions.add_parser("status", help="show whether it runs; the exit code is 1 if it does not")
    status.set_defaults(run=service_status)
    for action in (install, uninstall, status):
        action.add_argument(
            "role",
            nargs="?",
            choices=_ROLES,
            default="agent",
            metavar="ROLE",
            help="agent (default) or server",
        )


def _job(arguments: argparse.Namespace) -> Job:
    """@raise ConfigError: the service could not run with what is configured."""
    file: Path | None = arguments.config.absolute() if arguments.config else None
    if arguments.role == "agent":
        return _agent_job(file)
    words = ["server"]
    if file is None:
        raise ConfigError("which configuration? Give --config FILE, such as /etc/burrow/server.toml")
    server_config({}, str(file))
    if sys.platform != "darwin":
        words += ["--state", STATE]
        if not file.stat().st_mode & stat.S_IROTH:  # the service has a user of its own
            return Job("server", words, {}, file)
    return Job("server", [*words, "--config", str(file)], {})


def _agent_job(file: Path | None) -> Job:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BURROW_")}
    config, tunnels = client_settings({}, plain, file)
    if not (config.server and config.token):
        raise ConfigError(
            "a service does not know this shell's environment: run `burrow login URL -` first, which keeps "
            "the server and the token in a file of yours"
        )
    looking_credentials(config)
    if not tunnels:
        where = file or "config.toml in the config folder"
        raise ConfigError(f"there are no tunnels to open: write [tunnels.NAME] tables into {where}")
    words = ["start", "--quiet", *(["--config", str(file)] if file else [])]
    return Job("agent", words, {name: os.environ[name] for name in _PASSED if os.environ.get(name)})


def service_install(arguments: argparse.Namespace) -> int:
    """C{burrow service install [agent|server]}."""
    job = _job(arguments)
    by = manager(arguments.role, only_print=arguments.only_print)
    if arguments.only_print:
        say(by.text(job).rstrip("\n"))
        return 0
    by.check_right()
    log = by.install(job)
    say(f"The {arguments.role} runs as a service, by {by.path}; its log: {log}")
    if arguments.role == "agent" and not isinstance(by, Launchd):
        say("It runs while you are logged in; always, once `loginctl enable-linger` has run")
    return 0


def service_uninstall(arguments: argparse.Namespace) -> int:
    """C{burrow service uninstall [agent|server]}."""
    by = manager(arguments.role)
    by.check_right()
    by.uninstall()
    say(f"The {arguments.role}'s service is gone")
    return 0


def service_status(arguments: argparse.Namespace) -> int:
    """C{burrow service status [agent|server]}."""
    by = manager(arguments.role)
    if not by.path.exists():
        say(
            f"The {arguments.role} is no service here: `burrow service install {arguments.role}` makes it one"
        )
        return 1
    active, text = by.status()
    say(f"The {arguments.role} {text}")
    return 0 if active else 1
