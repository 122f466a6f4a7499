"""The fixture burrow_tunnel, in a pytest of its own, on the loopback."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest


def send(url, body=b"", **headers):
    try:
        with urlopen(Request(url, body or None, headers)) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_webhooks_are_kept(burrow_tunnel):
    assert burrow_tunnel.url.startswith("http")
    assert send(burrow_tunnel.url + "/hook?a=b", b'{"x": 1}', **{"X-Event": "push"})[0] == 200
    (hook,) = burrow_tunnel.wait()
    assert (hook.method, hook.path, hook.query, hook.json) == ("POST", "/hook", "a=b", {"x": 1})
    assert hook.headers["x-event"] == "push"


def test_answers_are_the_tests(burrow_tunnel):
    burrow_tunnel.answer = 503, "later", {"Retry-After": 5}
    status, body, headers = send(burrow_tunnel.url)
    assert (status, body, headers["Retry-After"]) == (503, b"later", "5")
    burrow_tunnel.answer = lambda hook: (201, hook.path)
    assert send(burrow_tunnel.url + "/made")[:2] == (201, b"/made")
    assert [hook.path for hook in burrow_tunnel.received] == ["/", "/made"]


def test_replay(burrow_tunnel):
    send(burrow_tunnel.url + "/a?b", b"body", **{"X-Event": "push"})
    (first,) = burrow_tunnel.wait()
    assert first.replay(burrow_tunnel.url) == 200
    _, second = burrow_tunnel.wait(2)
    assert (second.method, second.path, second.query, second.body) == ("POST", "/a", "b", b"body")
    assert second.headers["x-event"] == "push"
    burrow_tunnel.answer = 500, b""
    assert first.replay(burrow_tunnel.url) == 500


def test_webhook_that_does_not_come(burrow_tunnel):
    with pytest.raises(TimeoutError, match="0 of 1 webhooks came"):
        burrow_tunnel.wait(timeout=0.01)
"""


def run(folder):
    """The exit code and output of a pytest that has the plugin."""
    (folder / "test_webhooks.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "burrow.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", folder, folder],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },  # where Burrow is installed it is loaded already
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_on_the_loopback(tmp_path, monkeypatch):
    monkeypatch.delenv("BURROW_SERVER", raising=False)
    code, output = run(tmp_path)
    assert code == 0, output
    assert "4 passed" in output


def test_plugin_alone_imports_nothing_of_burrow():
    code = "import sys, burrow.pytest_plugin; print([name for name in sys.modules if 'twisted' in name])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
