"""Programs that use C{import burrow}, run as processes of their own."""

import sys
from pathlib import Path

PRELUDE = """
import os, sys
sys.path.insert(0, os.getcwd())
import burrow
import socket, ssl, threading, time, urllib.request
_real = socket.getaddrinfo
def _local(host, *more, **named):
    return _real("127.0.0.1" if str(host).endswith("localhost") else host, *more, **named)
socket.getaddrinfo = _local
_context = ssl.create_default_context(cafile=os.environ["BURROW_CA_FILE"])
_opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_context)
)
def get(url, **named):
    with _opener.open(urllib.request.Request(url, **named)) as answer:
        return answer.read()
def wait_for(condition):
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.01)
"""


def run(world, code, *arguments, env=None):
    """Start a program with the settings of a world's agents in its environment."""
    return world.program(
        sys.executable,
        "-c",
        PRELUDE + code,
        *arguments,
        env={**world.env, **(env or {})},
        cwd=Path(__file__).parents[2],
    )
