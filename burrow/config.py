"""
Configuration: one declared dataclass a role. An option's flag, help, default, type, environment
variable and place in a TOML file all come from its one field here.

Precedence: flag, environment, file, default. C{--https} is C{https} in a file and C{BURROW_HTTPS} in
the environment.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import os
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted.python import usage

from burrow.errors import ConfigError
from burrow.limits import Limits
from burrow.wording import did_you_mean, shown

_C = TypeVar("_C")
_PREFIX = "BURROW_"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


# -- where a person's files are ---------------------------------------------------------------------


def _folder(variable: str, unix: str, environ: Mapping[str, str]) -> Path:
    if environ.get(variable):
        return Path(environ[variable]) / "burrow"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "burrow"
    return Path.home() / unix / "burrow"


LOOPBACK = ("127.0.0.0/8", "::1/128")
"""The addresses of this machine's own programs."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a person's settings are (XDG Base Directory specification)."""
    return _folder("XDG_CONFIG_HOME", ".config", environ)


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where what must survive is (XDG Base Directory specification)."""
    return _folder("XDG_STATE_HOME", ".local/state", environ)


# -- how a text becomes a value ------------------------------------------------------------------------


def parse_listen(text: str) -> str:
    """C{HOST:PORT}, C{:PORT} for all interfaces, C{off} for nowhere; returns it normalised."""
    if text == "off":
        return ""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise ValueError("write HOST:PORT, [IPv6]:PORT, :PORT for all interfaces, or off")
    return f"[{host}]:{int(port)}" if ":" in host else f"{host}:{int(port)}"


def split_listen(listen: str) -> tuple[str, int]:
    """What L{parse_listen} returned, as host and port; the host is empty for all interfaces."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def parse_ports(text: str) -> str:
    """C{FIRST-LAST} or one port; returns it as written."""
    first, _, last = text.partition("-")
    last = last or first
    try:
        if parse_port(first) > parse_port(last):
            raise ValueError
    except ValueError:
        raise ValueError("write FIRST-LAST, both from 1 to 65535") from None
    return text


MAX_DOMAIN = 189
"""Characters of the base domain: with a label of 63 before it, 253 in all (RFC 1035 section 2.3.4)."""


def parse_domain(text: str) -> str:
    """A domain name, lower case, without a final dot."""
    domain = text.lower().rstrip(".")
    if not domain.isascii():
        raise ValueError("write the domain's ASCII form, whose labels begin with xn--")
    labels = domain.split(".")
    try:
        encoded = domain.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    possible = all(label.replace("-", "").isalnum() and label.strip("-") == label for label in labels)
    # An address has no names under it, and a last label of digits makes one (RFC 3696 section 2).
    possible = possible and not labels[-1].isdigit()
    if not encoded or not possible or len(encoded) > MAX_DOMAIN:
        raise ValueError("write a domain name, as in tunnel.example.com")
    return encoded


def parse_label(text: str) -> str:
    """
    A label (RFC 1123 section 2.1), in lower case.

    @raise ValueError: it is none; the text says what would be.
    """
    label = text.lower()
    if not _LABEL.fullmatch(label) or label[2:4] == "--":
        raise ValueError(
            "use 1 to 63 letters, digits and hyphens, with no hyphen at either end, nor two in third place"
        )
    return label


def parse_name(text: str) -> str:
    """
    A name that a tunnel may have, in lower case: the server's rule, which agents know, too.

    @raise ValueError: it is none; the text is a whole sentence.
    """
    try:
        return parse_label(text)
    except ValueError as error:
        wanted = repr(text) if len(text) <= 80 else f"{text[:60]!r}... ({len(text)} characters)"
        raise ValueError(f"{wanted} is no possible name: {error}") from error


def parse_seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ValueError("write a number of seconds above 0")
    return seconds


def parse_rate(text: str) -> float:
    """A number of bytes a second; 0 for none."""
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1e12:
        raise ValueError("write a number of bytes a second, or 0 for no limit")
    return rate


def parse_grace(text: str) -> float:
    """A number of seconds, 0 included."""
    if text.strip() in ("0", "0.0"):
        return 0.0
    try:
        return parse_seconds(text)
    except ValueError:
        raise ValueError("write a number of seconds, or 0") from None


def parse_count(text: str) -> int:
    """A whole number above 0."""
    # Not int() alone, which takes underscores and digits of all scripts; 9 digits suffice for all there is.
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ValueError("write a whole number above 0")
    return int(text)


def parse_most(text: str) -> int:
    """A whole number; 0 for no limit."""
    if text.strip() == "0":
        return 0
    try:
        return parse_count(text)
    except ValueError:
        raise ValueError("write a whole number, or 0 for no limit") from None


def parse_port(text: str) -> int:
    """A port."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError("write a port, 1 to 65535")
    return int(text)


def parse_network(text: str) -> str:
    """An address or a network in CIDR form."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write an address or a network, as in 10.0.0.0/8") from None
    address = ipaddress.ip_address(text.partition("/")[0])
    if address != network.network_address:
        raise ValueError(f"write {network} for the network, or {address} for the address alone")
    return str(network)


def parse_path(text: str) -> Path:
    """A path; a leading ~ is the home folder."""
    try:
        if not text or "\0" in text:
            raise ValueError
        return Path(text).expanduser().absolute()
    except (ValueError, RuntimeError):  # the second: ~ of a user whom nobody knows
        raise ValueError("write a path") from None


STDIN = Path("-")
"""Stands for standard input."""


def parse_secret_path(text: str) -> Path:
    """A path, or C{-} for standard input."""
    return STDIN if text == "-" else parse_path(text)


def parse_days(text: str) -> float:
    """A number of days, 1 or more."""
    days = float(text)
    if not 1 <= days < 1e6:
        raise ValueError("write a number of days, 1 or more")
    return days


def option(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] = str,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    many: bool = False,
    secret: bool = False,
) -> Any:
    """
    A field of a configuration class.

    @param parse: makes the value from a text; a ValueError's text says what to write instead.
    @param many: the option may be given more than once; the value is a tuple.
    @param secret: never shown.
    """
    metadata = {
        "help": help,
        "parse": parse,
        "metavar": metavar,
        "choices": choices,
        "many": many,
        "flag": default is False,
    }
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True)
class ServerConfig:
    """Everything a server can be told. Options without a default that suits all derive it from the domain."""

    domain: str = option("localhost", "the base domain: tunnels are names under it", parse=parse_domain)
    https: str | None = option(
        None,
        "where the HTTPS port listens, or off (default: 127.0.0.1:8443 for localhost, else :443)",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    http: str | None = option(
        None,
        "where the plain HTTP port listens, or off (default: 127.0.0.1:8080 for localhost, else :80)",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    tls: str = option(
        "local",
        "where certificates come from: a CA of its own (local), Let's Encrypt or another by ACME (acme), "
        "files, or none, behind a proxy (off)",
        choices=("local", "acme", "files", "off"),
    )
    cert_file: Path | None = option(
        None, "with --tls files: the certificate chain in PEM form", parse=parse_path, metavar="FILE"
    )
    key_file: Path | None = option(
        None, "with --tls files: the private key in PEM form", parse=parse_path, metavar="FILE"
    )
    acme_directory: str = option(
        "", f"with --tls acme: the CA's directory (default: Let's Encrypt, {LETS_ENCRYPT})", metavar="URL"
    )
    acme_staging: bool = option(
        False, "with --tls acme: use Let's Encrypt's staging CA, whose certificates nobody believes, to try"
    )
    acme_email: str = option("", "with --tls acme: where the CA may write to", metavar="EMAIL")
    acme_ca_file: Path | None = option(
        None,
        "with --tls acme: believe the CAs in this PEM file alone when the CA is asked, for a private one",
        parse=parse_path,
        metavar="FILE",
    )
    acme_eab_kid: str = option(
        "", "with --tls acme: the key id of an external account binding, where the CA wants one", metavar="ID"
    )
    acme_eab_key: str = option("", "its key, in base64url", metavar="KEY", secret=True)
    acme_fallback: str = option(
        "", "with --tls acme: another CA's directory, for when the first does not answer", metavar="URL"
    )
    acme_fallback_eab_kid: str = option(
        "", "the key id of an external account binding at the other CA, where it wants one", metavar="ID"
    )
    acme_fallback_eab_key: str = option("", "its key, in base64url", metavar="KEY", secret=True)
    acme_profile: str = option(
        "",
        "with --tls acme: which of the CA's kinds of certificates to ask for, as in shortlived or tlsserver "
        "at Let's Encrypt (default: the one that the CA gives unasked)",
        metavar="NAME",
    )
    acme_fallback_profile: str = option("", "the same, at the other CA", metavar="NAME")
    acme_limit: int | None = option(
        None,
        "certificates for new names a week (default: 45 at Let's Encrypt, which allows 50; else no limit)",
        parse=parse_count,
        metavar="N",
    )
    public_url: str = option(
        "", "how visitors reach this server, when a proxy in front has another address", metavar="URL"
    )
    state: Path | None = option(
        None,
        "the folder of what must survive (default: XDG_STATE_HOME/burrow)",
        parse=parse_path,
        metavar="DIR",
    )
    store: str = option(
        "",
        "where what must survive is kept: redis://[:password@]host[:port][/database], rediss:// for TLS, "
        "redis+sentinel://host[:port],.../master[/database], or memory; without it, SQLite in --state",
        metavar="URL",
        secret=True,
    )
    store_key: Path | None = option(
        None,
        "with --tls acme: a file with a secret, by which the private keys of certificates and accounts are "
        "encrypted in the store; the same on all servers of a store",
        parse=parse_path,
        metavar="FILE",
    )
    node: str = option(
        "",
        "where the other servers of the same store link to this one: an address of this machine's that they "
        "can reach; without it, they are on this machine",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    tcp_ports: str = option(
        "20000-20999", "public ports that TCP tunnels may have", parse=parse_ports, metavar="FIRST-LAST"
    )
    trusted_proxy: tuple[str, ...] = option(
        (),
        "address or network of a proxy in front that is believed in the headers of --trusted-header; may be "
        "repeated",
        parse=parse_network,
        metavar="CIDR",
        many=True,
    )
    trusted_header: tuple[str, ...] = option(
        ("X-Forwarded-For", "X-Forwarded-Proto"),
        "a header in which --trusted-proxy is believed: name each that the proxy sets itself, and none that "
        "it only passes on; may be repeated (default: X-Forwarded-For and X-Forwarded-Proto)",
        metavar="NAME",
        many=True,
    )
    reserve: tuple[str, ...] = option(
        (),
        "a name that no agent can have, beside those that mail and network software looks for by itself, as "
        "postmaster or wpad; may be repeated",
        parse=parse_label,
        metavar="NAME",
        many=True,
    )
    max_tunnels: int = option(2000, "tunnels that one agent may have open", parse=parse_count, metavar="N")
    token_names: int = option(
        5000,
        "names that one token may own, unless `burrow token set` says otherwise, as for the next three",
        parse=parse_count,
        metavar="N",
    )
    token_ports: int = option(100, "public ports that one token may own", parse=parse_count, metavar="N")
    token_tunnels: int = option(
        5000, "tunnels that all agents of one token together may have open", parse=parse_count, metavar="N"
    )
    token_sessions: int = option(
        1000, "agents that may be connected with one token", parse=parse_count, metavar="N"
    )
    free_after: float = option(
        90.0,
        "days without use after which a name or port that the server chose is freed; one that was asked for "
        "stays its owner's",
        parse=parse_days,
        metavar="DAYS",
    )
    response_timeout: float = option(
        120.0, "seconds an upstream may take to begin its response", parse=parse_seconds, metavar="SECONDS"
    )
    grace: float = option(
        60.0,
        "seconds that an agent's session, and what runs on it, waits for the agent to come back",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    hold: float = option(
        10.0,
        "seconds that a visitor's request waits for an agent that is expected back",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    workers: int = option(
        1, "processes that serve, to use as many cores; `burrow server` only", parse=parse_count, metavar="N"
    )
    drain: float = option(
        3600.0,
        "seconds that a process which `burrow server reload` replaced lets running streams go on",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    stop_grace: float = option(
        20.0,
        "seconds that what runs may take to end when the server is asked to stop; 0 cuts it at once",
        parse=parse_grace,
        metavar="SECONDS",
    )
    idle_timeout: float = option(
        75.0,
        "seconds a visitor's connection may wait between two requests, or take to send one's head",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    min_rate: float = option(
        100.0,
        "bytes a second that a visitor must at least send of a request's body, or take of an answer, while "
        "it is waited for; 0 for no limit",
        parse=parse_rate,
        metavar="BYTES",
    )
    min_rate_window: float = option(
        60.0, "seconds over which --min-rate is measured", parse=parse_seconds, metavar="SECONDS"
    )
    max_connections_per_address: int = option(
        1000,
        "connections that one address, or IPv6 /64, may have open to each process that serves, but for "
        "agents that have shown a token; 0 for no limit",
        parse=parse_most,
        metavar="N",
    )
    uncounted_address: tuple[str, ...] = option(
        LOOPBACK,
        "address or network that may have any number of connections, as a proxy's that passes TLS through; "
        "those of --trusted-proxy may anyway; may be repeated (default: the loopback)",
        parse=parse_network,
        metavar="CIDR",
        many=True,
    )
    log_level: str = option("info", "how much is logged", choices=("debug", "info", "warn", "error"))

    @property
    def local(self) -> bool:
        """Whether the base domain is the loopback's own (RFC 6761 section 6.3)."""
        return self.domain == "localhost" or self.domain.endswith(".localhost")

    @property
    def token_limits(self) -> Limits:
        """What a token may have that has no settings of its own."""
        return Limits(self.token_names, self.token_ports, self.token_tunnels, self.token_sessions)

    @property
    def https_listen(self) -> str:
        """Where the HTTPS port listens; empty for nowhere."""
        if self.tls == "off":
            return ""
        default = "127.0.0.1:8443" if self.local else ":443"
        return default if self.https is None else self.https

    @property
    def http_listen(self) -> str:
        """Where the plain port listens; empty for nowhere."""
        default = "127.0.0.1:8080" if self.local else ":80"
        return default if self.http is None else self.http

    @property
    def acme_url(self) -> str:
        """The CA's directory."""
        return self.acme_directory or (LETS_ENCRYPT_STAGING if self.acme_staging else LETS_ENCRYPT)

    def acme_weekly(self, url: str) -> int:
        """Certificates for new names that a CA is asked for in a week; 0 for no limit."""
        if self.acme_limit is not None:
            return self.acme_limit
        return 45 if (urlsplit(url).hostname or "").endswith(".letsencrypt.org") else 0

    @property
    def node_address(self) -> tuple[str, int]:
        """Where the other nodes of the same store link to this one."""
        return split_listen(self.node or "127.0.0.1:0")

    @property
    def state_dir(self) -> Path:
        """The state folder."""
        return self.state or state_folder()

    @property
    def port_range(self) -> range:
        """The public ports of TCP tunnels."""
        first, _, last = self.tcp_ports.partition("-")
        return range(int(first), int(last or first) + 1)

    def check(self) -> None:
        """Say what contradicts itself. @raise ConfigError: something does."""
        if self.workers > 1 and self.store == "memory":
            raise ConfigError("--store memory is one process's: it has no --workers")
        if self.workers > 1 and self.node_address[1]:
            raise ConfigError("--node must end in :0 with --workers: each has a port of its own")
        if self.node and self.node_address[0] in ("", "0.0.0.0", "::"):
            raise ConfigError("--node must be an address that the other servers can reach, not all of them")
        if self.node:
            try:
                ipaddress.ip_address(self.node_address[0])
            except ValueError as error:
                raise ConfigError(
                    f"--node {self.node} is not possible: write an IP address of this machine's, and a port"
                ) from error
        _ = self.public_base
        if self.tls == "files" and not (self.cert_file and self.key_file):
            raise ConfigError("--tls files needs --cert-file and --key-file")
        if self.tls == "acme":
            self._check_acme()
        if self.tls != "off" and not self.https_listen:
            raise ConfigError("without an HTTPS port there is no TLS: say --tls off too")
        if self.tls == "off" and not self.http_listen:
            raise ConfigError("--tls off serves on the plain port, and --http is off: nothing would listen")

    @property
    def public_base(self) -> tuple[str, int] | None:
        """
        The scheme and port that C{public_url} gives, if it is given.

        @raise ConfigError: it is no URL of the domain's.
        """
        if not self.public_url:
            return None
        try:
            parts = urlsplit(self.public_url)
            port = parts.port
        except ValueError:  # brackets that do not match, or no number where the port is
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or parts.hostname != self.domain or port == 0:
            raise ConfigError(f"--public-url must look like https://{self.domain} or with a port behind it")
        return parts.scheme, port or {"http": 80, "https": 443}[parts.scheme]

    def without_effect(self) -> list[str]:
        """A sentence for each option that is given, but not what it belongs to."""
        given = [
            field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default
        ]
        needs = [
            (name, f"--tls {tls}")
            for name in given
            for tls, those in (("acme", ("acme_", "store_key")), ("files", ("cert_file", "key_file")))
            if self.tls != tls and name.startswith(those)
        ]
        if "trusted_header" in given and not self.trusted_proxy:
            needs.append(("trusted_header", "--trusted-proxy"))
        return [f"{flag(name)} has no effect without {what}" for name, what in needs]

    def _check_acme(self) -> None:
        if self.local and not self.acme_directory:
            raise ConfigError(f"no public CA issues for {self.domain}: give --domain, or --tls local")
        if self.acme_staging and self.acme_directory:
            raise ConfigError("--acme-staging and --acme-directory name two CAs: give one")
        if bool(self.acme_eab_kid) != bool(self.acme_eab_key):
            raise ConfigError("--acme-eab-kid and --acme-eab-key belong together")
        if bool(self.acme_fallback_eab_kid) != bool(self.acme_fallback_eab_key):
            raise ConfigError("--acme-fallback-eab-kid and --acme-fallback-eab-key belong together")
        if not self.acme_fallback and (self.acme_fallback_eab_kid or self.acme_fallback_profile):
            raise ConfigError("--acme-fallback-eab-kid and --acme-fallback-profile need --acme-fallback")
        for url in filter(None, (self.acme_directory, self.acme_fallback)):
            if not url.startswith("https://"):
                raise ConfigError(f"a CA's directory is an https URL, and {url!r} is none")


@dataclass(frozen=True)
class ClientConfig:
    """Everything an agent can be told, beside its tunnels."""

    server: str = option("", "the server's URL, as in https://example.com", metavar="URL")
    token: str = option("", "the token that the server's owner gave you", secret=True)
    token_file: Path | None = option(
        None,
        "read the token from this file, or with - from standard input",
        parse=parse_secret_path,
        metavar="FILE",
    )
    insecure: bool = option(
        False, "use an http:// server that is not on this machine, though whoever is between reads the token"
    )
    ca_file: Path | None = option(
        None, "believe the CAs in this PEM file alone, for a private CA", parse=parse_path, metavar="FILE"
    )
    no_retry: bool = option(False, "end, with exit code 69, when the server cannot be reached or is lost")
    stop_grace: float = option(
        20.0,
        "seconds that what runs may take to end when the agent is asked to stop; 0 cuts it at once",
        parse=parse_grace,
        metavar="SECONDS",
    )
    log_level: str = option("warn", "how much is logged", choices=("debug", "info", "warn", "error"))


# -- from text to configuration -----------------------------------------------------------------------


def _value(field: dataclasses.Field[Any], given: Any, source: str, equals: str = " ") -> Any:
    """
    @param given: a text; or from a file, whatever TOML has.
    @raise ConfigError: it is not possible.
    """
    meta = field.metadata
    item = given
    try:
        if meta["many"]:
            items = given if isinstance(given, (list, tuple)) else str(given).split(",")
            values = []
            for item in items:
                if isinstance(given, list) and not isinstance(item, str):
                    raise ValueError("write texts")
                values.append(meta["parse"](item.strip()))
            return tuple(values)
        if meta["flag"]:
            if isinstance(given, bool):
                return given
            switches = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
            if str(given).lower() not in switches:
                raise ValueError("write true or false")
            return switches[str(given).lower()]
        numeric = meta["parse"] in _NUMERIC
        if isinstance(given, bool) or not isinstance(given, (str, int, float) if numeric else (str, Path)):
            wanted = " or ".join(meta["choices"]) if meta["choices"] else "a number" if numeric else "a text"
            raise ValueError(f"write {wanted}")
        text = str(given)
        if meta["choices"] and text not in meta["choices"]:
            raise ValueError(
                f"write one of {', '.join(meta['choices'])}{did_you_mean(text, meta['choices'])}"
            )
        return meta["parse"](text)
    except ValueError as error:
        value = "" if not field.repr else f"{equals}{shown(item)}"
        raise ConfigError(f"{source}{value} is not possible: {error}") from error


_NUMERIC = (parse_seconds, parse_grace, parse_rate, parse_count, parse_most, parse_ports)
"""What takes numbers, in a file."""


def flag(name: str) -> str:
    """An option's flag."""
    return "--" + name.replace("_", "-")


def load(
    cls: type[_C],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    table: Mapping[str, Any] | None = None,
    source: str = "the configuration file",
    only: Collection[str] | None = None,
) -> _C:
    """
    Put a configuration together.

    @param flags: what the command line gave, by field name; None means not given.
    @param table: what a TOML file gave, by flag name without the dashes.
    @param only: the fields to fill, if not all.
    @raise ConfigError: a value is not possible, or the table has a key that nobody knows.
    """
    values: dict[str, Any] = {}
    rest = dict(table or {})
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = field.name
        if only is not None and name not in only:
            continue
        key = name.replace("_", "-")
        in_table = rest.pop(key, None)
        variable = _PREFIX + name.upper()
        if flags.get(name) not in (None, (), []):
            values[name] = _value(field, flags[name], flag(name))
        elif environ.get(variable):
            values[name] = _value(field, environ[variable], variable)
        elif in_table is not None:
            values[name] = _value(field, in_table, f"{source}: {key}", " = ")
    keys = [field.name.replace("_", "-") for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    check_keys(rest, keys, source)
    return cls(**values)


def check_keys(table: Collection[str], known: Collection[str], source: str) -> None:
    """@raise ConfigError: a table of a file has a key that is not known."""
    for key in sorted(set(table) - set(known)):
        guess = did_you_mean(key, known) or did_you_mean(key.replace("_", "-"), known)
        raise ConfigError(f"{source}: there is no option {shown(key)[1:-1]}{guess}")


def read_toml(path: Path) -> dict[str, Any]:
    """@raise ConfigError: the file cannot be read, or is not TOML."""
    try:
        # An editor may have put a byte order mark first.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not in UTF-8: save it so") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _help(field: dataclasses.Field[Any]) -> str:
    """An option's help, with its default and its environment variable."""
    text = str(field.metadata["help"])
    if field.default not in (None, "", (), False) and "default" not in text:
        text += f" (default: {field.default})"
    return f"{text} [{_PREFIX}{field.name.upper()}]"


def add_arguments(
    parser: argparse._ActionsContainer, cls: type[Any], only: Collection[str] | None = None
) -> None:
    """
    Give an argparse parser the options of a configuration class; none has a default there.

    @param only: the fields to take, if not all.
    """
    for field in dataclasses.fields(cls):
        if only is not None and field.name not in only:
            continue
        meta = field.metadata
        if meta["flag"]:
            parser.add_argument(flag(field.name), action="store_true", default=None, help=_help(field))
        else:
            parser.add_argument(
                flag(field.name),
                action="append" if meta["many"] else "store",
                metavar=meta["metavar"]
                or ("{" + ",".join(meta["choices"]) + "}" if meta["choices"] else None),
                help=_help(field).replace("%", "%%"),
            )


def twistd_options(cls: type[Any], synopsis_text: str) -> type[usage.Options]:
    """The same options for a twistd plugin; C{flags_given} of an instance is what L{load} takes."""
    fields = dataclasses.fields(cls)
    repeated = [field.name for field in fields if field.metadata["many"]]

    class Options(usage.Options):
        synopsis = synopsis_text
        optFlags = [
            [field.name.replace("_", "-"), None, _help(field)] for field in fields if field.metadata["flag"]
        ]
        optParameters = [
            ["config", None, None, "a TOML file with these options"],
            *(
                [field.name.replace("_", "-"), None, None, _help(field)]
                for field in fields
                if not field.metadata["flag"]
            ),
        ]

        def parseOptions(self, options: Any = None) -> None:
            """Read a command line. As by C{burrow}, shortened options are refused."""
            for word in options or ():
                name = str(word)[2:].partition("=")[0]
                known = {one.rstrip("=") for one in self.longOpt}
                if str(word).startswith("--") and name and name not in known:
                    raise usage.UsageError(f"there is no option --{name}{did_you_mean(name, known)}")
            super().parseOptions(options)

        def flags_given(self) -> dict[str, Any]:
            """What the command line gave, by field name."""
            given = {field.name: self[field.name.replace("_", "-")] for field in fields}
            for name in repeated:
                given[name] = given[name].split(",") if given[name] else None
            return {name: value or None for name, value in given.items()}

    return Options
