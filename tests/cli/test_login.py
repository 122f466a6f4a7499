"""Tests for L{burrow.cli.login}: the file that it writes."""

import pytest

from burrow.cli.login import _write_credentials
from burrow.client.config import ClientConfig
from burrow.options import read_toml


@pytest.mark.parametrize("name", ["ca.pem", 'a "b" \\c', "two\nlines", "tab\t", "\x7f", "ü \U0001f600"])
def test_what_is_written_is_read(tmp_path, name):
    config = ClientConfig(token="burrow_x", ca_file=tmp_path / name, insecure=True)
    file = tmp_path / "credentials.toml"
    _write_credentials(file, "https://example.com", config)
    assert read_toml(file) == {
        "server": "https://example.com",
        "token": "burrow_x",
        "ca-file": str(tmp_path / name),
        "insecure": True,
    }
