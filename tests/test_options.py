"""Tests for L{burrow.options}."""

import argparse
from ipaddress import ip_network

import pytest
from twisted.python.usage import UsageError

from burrow.client.config import ClientConfig
from burrow.errors import ConfigError
from burrow.options import add_arguments, load, twistd_options
from burrow.protocols.options import kind_option
from burrow.server.config import ServerConfig


def test_flag_before_environment_before_file_before_default():
    environment = {"BURROW_DOMAIN": "env.example", "BURROW_MAX_TUNNELS": "7"}
    table = {"domain": "file.example", "max-tunnels": 8, "idle-timeout": 9}
    config = load(ServerConfig, {"domain": "Flag.Example."}, environment, table)
    assert (config.domain, config.max_tunnels, config.idle_timeout) == ("flag.example", 7, 9.0)
    assert config.response_timeout == 120.0


def test_lists_from_everywhere():
    expected = tuple(map(ip_network, ("10.0.0.0/8", "::1/128")))
    assert load(ServerConfig, {"trusted_proxy": ["10.0.0.0/8", "::1"]}, {}).trusted_proxy == expected
    assert load(ServerConfig, {}, {"BURROW_TRUSTED_PROXY": "10.0.0.0/8, ::1"}).trusted_proxy == expected
    assert load(ServerConfig, {}, {}, {"trusted-proxy": ["10.0.0.0/8", "::1"]}).trusted_proxy == expected


def test_switches_from_everywhere():
    assert load(ClientConfig, {"no_retry": True}, {}).no_retry
    assert load(ClientConfig, {}, {"BURROW_NO_RETRY": "yes"}).no_retry
    assert not load(ClientConfig, {}, {}, {"no-retry": False}).no_retry
    with pytest.raises(ConfigError, match="true or false"):
        load(ClientConfig, {}, {"BURROW_NO_RETRY": "maybe"})


class TestSwitchOfThreeValues:
    """One that is neither on nor off unless somebody says so."""

    def by_arguments(self, *words):
        parser = argparse.ArgumentParser()
        add_arguments(parser, ServerConfig)
        return load(ServerConfig, vars(parser.parse_args(words)), {}, {"http2": True}).http2

    def by_twistd(self, *words):
        options = twistd_options(ServerConfig, "")()
        options.parseOptions(words)
        return load(ServerConfig, options.flags_given(), {}, {"http2": True}).http2

    def test_each_flag(self):
        for read in (self.by_arguments, self.by_twistd):
            assert [read("--http2"), read("--no-http2"), read()] == [True, False, True]
        assert self.by_arguments("--http2", "--no-http2") is False
        with pytest.raises(UsageError, match="--http2 and --no-http2 contradict"):
            self.by_twistd("--no-http2", "--http2")

    def test_environment_and_file(self):
        assert load(ServerConfig, {}, {}).http2 is None
        for text, value in (("1", True), ("true", True), ("0", False), ("no", False)):
            assert load(ServerConfig, {}, {"BURROW_HTTP2": text}).http2 is value
        assert load(ServerConfig, {}, {}, {"http2": False}).http2 is False
        assert load(ServerConfig, {"http2": True}, {"BURROW_HTTP2": "0"}, {"http2": False}).http2 is True
        with pytest.raises(ConfigError, match="true or false"):
            load(ServerConfig, {}, {}, {"http2": "tls"})
        with pytest.raises(ConfigError, match="there is no option no-http2; did you mean http2"):
            load(ServerConfig, {}, {}, {"no-http2": True})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"https": "443"}, "HOST:PORT"),
        ({"tls": "magic"}, "local, acme, files, off"),
        ({"max-tunnels": 0}, "above 0"),
        ({"speed": 1}, "speed"),
        ({"domain": True}, "text"),
        ({"domain": "a..b"}, "domain name"),
    ],
)
def test_impossible_values_say_where_and_what_instead(table, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load(ServerConfig, {}, {}, table, "server.toml")
    assert "server.toml" in str(caught.value)


def test_tokens_are_not_shown():
    assert "secret" not in repr(load(ClientConfig, {"token": "secret"}, {}))


def test_argparse_and_twistd_have_the_same_options():
    parser = argparse.ArgumentParser()
    add_arguments(parser, ServerConfig)
    flags = {option for action in parser._actions for option in action.option_strings}
    options = twistd_options(ServerConfig, "")()
    twistd = {"--" + name for name in options if name != "config"}
    assert flags - {"-h", "--help"} == twistd
    options.parseOptions(["--domain", "x.example", "--trusted-proxy", "10.0.0.1,10.0.0.2"])
    given = options.flags_given()
    assert (given["domain"], given["trusted_proxy"], given["https"]) == (
        "x.example",
        ["10.0.0.1", "10.0.0.2"],
        None,
    )


@pytest.mark.parametrize("cls", [ServerConfig, ClientConfig])
def test_twistd_takes_no_shortened_options(cls):
    for word in ("--log-l", "--log-l=warn", "--confi"):
        with pytest.raises(UsageError, match=r"there is no option --.*did you mean"):
            twistd_options(cls, "")().parseOptions([word, "x"])


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (int, '--shown "ten" is not possible: write a whole number$'),
        (float, '--shown "ten" is not possible: write a number$'),
    ],
)
def test_parsers_of_pythons_own(parse, words):
    """A plugin's option may have C{int} as its parser, whose error is in a programmer's words."""
    option = kind_option("shown", "how much", parse=parse)
    with pytest.raises(ConfigError, match=words):
        option.value("ten", option.flag)
