"""
The options of the server role.

Long because each option is a field with its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from burrow.addresses import (
    DEFAULT_PORTS,
    ListenAddress,
    Network,
    is_localhost,
    is_loopback,
    parse_ip,
    parse_listen,
    parse_network,
    parse_ports,
    parse_server,
)
from burrow.errors import ConfigError
from burrow.folders import state_folder
from burrow.limits import Limits
from burrow.options import option
from burrow.store.redis.address import RedisAddress
from burrow.values import (
    parse_count,
    parse_days,
    parse_domain,
    parse_grace,
    parse_label,
    parse_most,
    parse_path,
    parse_rate,
    parse_seconds,
)

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""The networks from which this machine's own programs connect."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

TRUSTED_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto")
"""What a trusted proxy is believed in, unless the configuration says otherwise."""

_LOCALHOST = "127.0.0.1"


def parse_store(text: str) -> RedisAddress | Literal["", "memory"]:
    """The URL of a Redis; C{memory}; empty for SQLite. @raise ConfigError: it is none of these."""
    if text == "":
        return ""
    return "memory" if text == "memory" else RedisAddress.parse(text)


def _listen(
    given: ListenAddress | Literal["off"] | None, default: ListenAddress | None
) -> ListenAddress | None:
    """The address that an option gives; None for C{off}."""
    if given is None:
        return default
    return given if isinstance(given, ListenAddress) else None


@dataclass(frozen=True)
class ServerConfig:
    """The options of a server. The default of an option that is None here depends on the domain."""

    domain: str = option("localhost", "the base domain: tunnels are names under it", parse=parse_domain)
    https: ListenAddress | Literal["off"] | None = option(
        None,
        "where the HTTPS port listens, or off (default: 127.0.0.1:8443 for localhost, else :443)",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    http: ListenAddress | Literal["off"] | None = option(
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
    acme_token_limit: int | None = option(
        None,
        "of these, those for the names of one token; 0 for no such limit (default: half of --acme-limit)",
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
    store: RedisAddress | Literal["", "memory"] = option(
        "",
        "where what must survive is kept: redis://[:password@]host[:port][/database], rediss:// for TLS, "
        "redis+sentinel://host[:port],.../master[/database], or memory; without it, SQLite in --state",
        parse=parse_store,
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
    node: ListenAddress | Literal["off"] | None = option(
        None,
        "where the other servers of the same store link to this one: an address of this machine's that they "
        "can reach; without it, they are on this machine",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    admin: ListenAddress | Literal["off"] | None = option(
        None,
        "where the admin API and the dashboard are served instead of at the base domain: without TLS on the "
        "loopback, elsewhere with the base domain's certificate; off for nowhere (default: at the base "
        "domain)",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    admin_at_domain: bool = option(False, "with --admin: serve them at the base domain, too")
    no_admin: bool = option(False, "serve no admin API and no dashboard")
    metrics: ListenAddress | Literal["off"] | None = option(
        None,
        "where the metrics are served without a token, beside /_burrow/metrics of the base domain: to "
        "whoever can connect, so give an address that only your monitoring reaches",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    ssh: ListenAddress | Literal["off"] | None = option(
        None,
        "where a plain `ssh -R 80:localhost:3000 NAME@...` opens tunnels, with a token as the password; "
        "needs `pip install twisted[conch]` (default: nowhere)",
        parse=parse_listen,
        metavar="HOST:PORT",
    )
    ssh_keys: Path | None = option(
        None,
        "with --ssh: public keys that are let in, as in authorized_keys, each with the name of the token "
        "behind it whose tunnels they open",
        parse=parse_path,
        metavar="FILE",
    )
    tcp_ports: range = option(
        "20000-20999", "public ports that TCP tunnels may have", parse=parse_ports, metavar="FIRST-LAST"
    )
    trusted_proxy: tuple[Network, ...] = option(
        (),
        "address or network of a proxy in front that is believed in the headers of --trusted-header; may be "
        "repeated",
        parse=parse_network,
        metavar="CIDR",
        many=True,
    )
    proxy_protocol_from: tuple[Network, ...] = option(
        (),
        "address or network of a balancer of TCP in front, whose connections to the HTTPS, HTTP and tunnels' "
        "ports all begin with a header of the PROXY protocol, which is believed; may be repeated",
        parse=parse_network,
        metavar="CIDR",
        many=True,
    )
    trusted_header: tuple[str, ...] = option(
        TRUSTED_HEADERS,
        "a header in which --trusted-proxy is believed: name each that the proxy sets itself, and none that "
        "it only passes on; may be repeated (default: X-Forwarded-For and X-Forwarded-Proto)",
        metavar="NAME",
        many=True,
    )
    private_providers: bool = option(
        False,
        "let tunnels ask sign-in providers and token issuers at private addresses, or without TLS: whoever "
        "may open tunnels can have this server ask its own network then",
    )
    reserve: tuple[str, ...] = option(
        (),
        "a name that no agent can have, beside those that mail and network software looks for by itself, as "
        "postmaster or wpad; may be repeated",
        parse=parse_label,
        metavar="NAME",
        many=True,
    )
    dns_server: ListenAddress | None = option(
        None,
        "a DNS server that is asked whose users' own domains are (default: those that this machine asks)",
        parse=parse_server,
        metavar="IP:PORT",
    )
    public_address: tuple[str, ...] = option(
        (),
        "an address of this server's to which users' own domains may lead, beside those of the base domain; "
        "may be repeated",
        parse=parse_ip,
        metavar="IP",
        many=True,
    )
    ca_domain: tuple[str, ...] = option(
        (),
        "with --tls local: a domain under which the local CA issues for users' own domains, beside the base "
        "domain; visitors have to import the CA anew when one is added; may be repeated",
        parse=parse_domain,
        metavar="DOMAIN",
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
    http2: bool | None = option(
        None,
        "--http2: with --tls off, speak HTTP/2 on the plain port with visitors of tunnels that begin with "
        "it; --no-http2: speak it nowhere (default: on the TLS port, with those that offer it)",
        both=True,
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
        "agents that have shown a token; requests that come at a time over one of HTTP/2 count as one each; "
        "0 for no limit",
        parse=parse_most,
        metavar="N",
    )
    uncounted_address: tuple[Network, ...] = option(
        LOOPBACK,
        "address or network that may have any number of connections, as a proxy's that passes TLS through; "
        "those of --trusted-proxy may anyway; may be repeated (default: the loopback)",
        parse=parse_network,
        metavar="CIDR",
        many=True,
    )
    log_format: Literal["", "human", "json"] = option(
        "",
        "given, the log has a line for each request, too, and all its lines are in this form (default: "
        "events and errors alone, in lines for people)",
        choices=("human", "json"),
    )
    log_level: str = option("info", "how much is logged", choices=("debug", "info", "warn", "error"))

    @property
    def local(self) -> bool:
        """Whether the base domain is for this machine alone."""
        return is_localhost(self.domain)

    @property
    def token_limits(self) -> Limits:
        """The limits of a token that has no limits of its own."""
        return Limits(self.token_names, self.token_ports, self.token_tunnels, self.token_sessions)

    @property
    def https_listen(self) -> ListenAddress | None:
        """Where the HTTPS port listens; None for nowhere."""
        default = ListenAddress(_LOCALHOST, 8443) if self.local else ListenAddress("", 443)
        return None if self.tls == "off" else _listen(self.https, default)

    @property
    def http_listen(self) -> ListenAddress | None:
        """Where the plain HTTP port listens; None for nowhere."""
        default = ListenAddress(_LOCALHOST, 8080) if self.local else ListenAddress("", 80)
        return _listen(self.http, default)

    @property
    def admin_listen(self) -> ListenAddress | None:
        """Where the admin API has a port of its own; None for nowhere."""
        return None if self.no_admin else _listen(self.admin, None)

    @property
    def metrics_listen(self) -> ListenAddress | None:
        """Where the metrics have a port of their own; None for nowhere."""
        return _listen(self.metrics, None)

    @property
    def ssh_listen(self) -> ListenAddress | None:
        """Where agents that are a plain ssh are taken; None for nowhere."""
        return _listen(self.ssh, None)

    @property
    def listens(self) -> list[tuple[str, ListenAddress]]:
        """The ports with an option of their own, by its name; without those that are off, and C{node}."""
        ports = [
            ("https", self.https_listen),
            ("http", self.http_listen),
            ("admin", self.admin_listen),
            ("metrics", self.metrics_listen),
            ("ssh", self.ssh_listen),
        ]
        return [(name, listen) for name, listen in ports if listen is not None]

    @property
    def admin_in_clear(self) -> bool:
        """Whether that port has no TLS: it is on the loopback."""
        return self.admin_listen is not None and is_loopback(self.admin_listen.host)

    @property
    def serves_admin(self) -> bool:
        """Whether the admin API is at the base domain."""
        if self.no_admin or self.admin == "off":
            return False
        return self.admin is None or self.admin_at_domain

    @property
    def acme_url(self) -> str:
        """The URL of the CA's directory."""
        return self.acme_directory or (LETS_ENCRYPT_STAGING if self.acme_staging else LETS_ENCRYPT)

    def acme_weekly(self, url: str) -> int:
        """
        How many certificates for new names a CA is asked for in a week; 0 for no limit.

        @param url: its directory.
        """
        if self.acme_limit is not None:
            return self.acme_limit
        return 45 if (urlsplit(url).hostname or "").endswith(".letsencrypt.org") else 0

    def acme_share(self, url: str) -> int:
        """
        How many of them are for the names of one token; 0 for no limit.

        @param url: the CA's directory.
        """
        if self.acme_token_limit is not None:
            return self.acme_token_limit
        return -(-self.acme_weekly(url) // 2)

    @property
    def node_address(self) -> ListenAddress:
        """Where this node listens for the links of other nodes of the same store."""
        return _listen(self.node, None) or ListenAddress(_LOCALHOST, 0)

    @property
    def state_dir(self) -> Path:
        """The state folder."""
        return self.state or state_folder()

    @property
    def speaks_http2(self) -> bool:
        """Whether HTTP/2 is spoken with visitors of tunnels: without TLS only if that was asked for."""
        return self.tls != "off" if self.http2 is None else self.http2

    @property
    def public_base(self) -> tuple[str, int] | None:
        """
        The scheme and port of C{public_url}; None if that is not given.

        @raise ConfigError: it is not a URL of the domain.
        """
        if not self.public_url:
            return None
        try:
            parts = urlsplit(self.public_url)
            port = parts.port
        except ValueError:  # the brackets do not match, or the port is not a number
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or parts.hostname != self.domain or port == 0:
            raise ConfigError(f"--public-url must look like https://{self.domain} or with a port behind it")
        return parts.scheme, port or DEFAULT_PORTS[parts.scheme]
