"""Tests for L{burrow.client.service} and L{burrow.client.secret}: whose token, and from where."""

import io
import sys

import pytest

from burrow.client import secret
from burrow.client.config import ClientConfig
from burrow.client.secret import read_secret
from burrow.client.settings import client_settings, credentials_of
from burrow.errors import ConfigError
from burrow.link.address import ServerAddress
from burrow.values import STDIN


@pytest.fixture
def folder(tmp_path):
    """A config folder whose files say where a token is; C{token(level)} is a token file's path."""
    (tmp_path / "burrow").mkdir()
    (tmp_path / "burrow" / "credentials.toml").write_text('server = "https://x"\ntoken = "of-login"\n')
    for level in ("file", "environment", "flag"):
        (tmp_path / level).write_text(f"of-{level}-file\n")
    return tmp_path


def token(folder, flags=(), environ=(), config=""):
    (folder / "burrow" / "config.toml").write_text(config)
    variables = {"XDG_CONFIG_HOME": str(folder), **dict(environ)}
    return client_settings(dict(flags), variables, None)[0].token


def test_the_nearest_word_counts_whether_token_or_file(folder):
    path = {level: str(folder / level) for level in ("file", "environment", "flag")}
    assert token(folder) == "of-login"
    in_file = f'token-file = "{path["file"]}"\n'
    assert token(folder, config=in_file) == "of-file-file"
    assert token(folder, config='token = "of-file"\n') == "of-file"
    environ = {"BURROW_TOKEN_FILE": path["environment"]}
    assert token(folder, config='token = "of-file"\n', environ=environ) == "of-environment-file"
    environ = {"BURROW_TOKEN": "of-environment"}
    assert token(folder, config=in_file, environ=environ) == "of-environment"
    assert token(folder, {"token_file": path["flag"]}, environ, in_file) == "of-flag-file"
    environ = {"BURROW_TOKEN_FILE": str(folder / "missing")}
    assert token(folder, {"token": "of-flag"}, environ, in_file) == "of-flag"


def test_token_and_file_in_one_place(folder):
    both = {"token": "x", "token_file": str(folder / "flag")}
    with pytest.raises(ConfigError, match="the command line has a token and a token file"):
        token(folder, both)
    with pytest.raises(ConfigError, match="the environment has"):
        token(folder, environ={f"BURROW_{key.upper()}": value for key, value in both.items()})
    with pytest.raises(ConfigError, match="toml has a token"):
        token(folder, config=f'token = "x"\ntoken-file = "{folder / "flag"}"\n')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"a b", "more than one word"),
        (b"a\nb\n", "more"),
        (b"\xff", "text"),
    ],
)
def test_file_that_is_no_token(tmp_path, text, problem):
    path = tmp_path / "token"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=problem):
        read_secret(path, "token")
    with pytest.raises(ConfigError, match="No such file"):
        read_secret(tmp_path / "missing", "token")
    with pytest.raises(ConfigError, match="directory"):
        read_secret(tmp_path, "token")


def test_standard_input(monkeypatch):
    monkeypatch.setattr(secret, "_of_stdin", {})
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(ConfigError, match="standard input is empty"):
        read_secret(STDIN, "token")
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\r\nmore\n"))
    assert read_secret(STDIN, "token") == "secret"
    # A file is read again on SIGHUP; standard input has said it then.
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert read_secret(STDIN, "token") == "secret"


@pytest.mark.parametrize(
    ("server", "private"),
    [
        ("https://example.com", True),
        ("http://localhost:8080", True),
        ("http://burrow.localhost.", True),
        ("http://127.0.0.2", True),
        ("http://[::1]:80", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://example.com", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://192.0.2.1", False),
        ("http://[::ffff:192.0.2.1]", False),
        ("http://0.0.0.0", False),
    ],
)
def test_token_in_clear_only_on_this_machine(tmp_path, server, private):
    assert ServerAddress.parse(server).private is private
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    if not private:
        with pytest.raises(ConfigError, match="--insecure"):
            credentials_of(ClientConfig(server=server, token="x"), environ)
    config = ClientConfig(server=server, token="x", insecure=not private)
    assert credentials_of(config, environ).token == "x"
