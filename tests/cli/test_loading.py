"""What a command need not load, it does not: each start would take longer, and each agent more memory."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from burrow.cli.main import make_parser
make_parser()
server = ("burrow.server.admin.describe", "burrow.server.agent", "burrow.server.service")
for name in (*server, "acme", "josepy", "requests", "rich", "segno", "treq", "txacme", "txredisapi"):
    if name in sys.modules:
        print(name)
"""


def loaded():
    """Which of those modules a fresh start loads."""
    started = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return started.stdout.split()


def test_commands_load_no_server_no_client_of_cas_or_redis_and_no_screen():
    loaded()  # the first start of an installation loads all plugins, and keeps a list of them (dropin.cache)
    assert loaded() == []
