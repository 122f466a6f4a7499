"""What a command need not load, it does not: each start would take longer, and each agent more memory."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from burrow.cli.main import make_parser
command, *names = sys.argv[1:]
make_parser(command)
for name in names:
    if name in sys.modules:
        print(name)
"""
SERVER = ("burrow.server.admin.describe", "burrow.server.agent", "burrow.server.service")
NEVER = (*SERVER, "acme", "josepy", "requests", "rich", "segno", "treq", "txacme", "txredisapi")


def loaded(command, names):
    """Which of these modules a fresh start of a command loads; of all commands, if it is empty."""
    started = subprocess.run(
        [sys.executable, "-c", CODE, command, *names],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return started.stdout.split()


def test_commands_load_no_server_no_client_of_cas_or_redis_and_no_screen():
    loaded("", [])  # the first start of an installation loads all plugins, and keeps their list
    assert loaded("", NEVER) == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("version", ["OpenSSL", "argcomplete", "autobahn", "twisted.web", "burrow.protocols.registry"]),
        ("status", ["autobahn", "burrow.client.agent", "burrow.policy.oidc", "burrow.protocols.tcp"]),
        ("token", ["autobahn", "twisted.web", "burrow.link.dial", "burrow.protocols.tcp"]),
        ("server", ["autobahn", "burrow.client.agent", "burrow.client.api"]),
        ("http", ["burrow.server.config", "burrow.store.sqlite", "burrow.cli.demo"]),
    ],
)
def test_a_command_loads_nothing_of_others(command, names):
    assert loaded(command, names) == []
