"""The examples of docs/python.md run as they stand."""

import re
import signal
from pathlib import Path

import pytest

from tests.e2e.harness import reply
from tests.e2e.programs import run

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

VISIT_PORT = """
import socket

def visit_port(url, data):
    host, _, port = url.partition("//")[2].rpartition(":")
    with socket.create_connection((host, int(port))) as visitor:
        visitor.sendall(data)
        assert visitor.recv(100) == b"good-bye"

"""


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(world, upstream, number):
    hello = upstream(lambda handler: reply(handler, b"hello"))
    code = "visit = get\n" + VISIT_PORT + EXAMPLES[number].replace("8000", str(hello.port))
    program = run(world, code)
    if "burrow.serve(" in code:
        program.line("Ctrl-C ends it")
        program.kill(signal.SIGINT)
    assert program.wait() == 0, program.output
    assert "Traceback" not in program.output
