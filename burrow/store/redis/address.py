"""Where a Redis is, as the option C{--store} says it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import attr

from burrow.addresses import is_localhost
from burrow.errors import ConfigError

_SHAPE = (
    "--store must look like redis://[[user]:password@]host[:port][/database], rediss:// for TLS (with "
    "?ca_file=FILE for a private CA), or redis+sentinel://host[:port],host[:port]/master[/database]"
)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return is_localhost(host.lower().rstrip("."))


@attr.frozen
class RedisAddress:
    """
    What C{--store} says of a Redis.

    @ivar hosts: host and port of Redis; with C{master}, those of its Sentinels. @ivar master: the name that
    the Sentinels know it by; empty without Sentinels. @ivar ca_file: with TLS, trust the CAs in this file
    alone.
    """

    hosts: tuple[tuple[str, int], ...]
    database: int = 0
    user: str | None = None
    password: str | None = attr.field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    master: str = ""

    @property
    def in_clear(self) -> str:
        """The first host that is reached without TLS and not over the loopback; empty if there is none."""
        return "" if self.tls else next((host for host, _ in self.hosts if not _is_loopback(host)), "")

    @classmethod
    def parse(cls, text: str) -> RedisAddress:
        """@raise ConfigError: it is no such URL; the error does not show a password."""
        try:
            return cls._parse(text)
        except ValueError as error:
            raise ConfigError(_SHAPE) from error

    @classmethod
    def _parse(cls, text: str) -> RedisAddress:
        # By hand: urlsplit may refuse several hosts of which one is an IPv6 address.
        scheme, _, rest = text.partition("://")
        rest, question, options = rest.partition("?")
        netloc, _, place = rest.partition("/")
        login, _, netloc = netloc.rpartition("@")
        user, _, password = login.partition(":")
        sentinel = scheme == "redis+sentinel"
        pieces = netloc.split(",") if sentinel else [netloc]
        hosts = tuple(_host(piece, 26379 if sentinel else 6379) for piece in pieces)
        path = place.strip("/").split("/")
        master = path.pop(0) if sentinel else ""
        query = parse_qs(options, strict_parsing=bool(question))
        ca_file = query.pop("ca_file", [""])[0]
        if scheme not in ("redis", "rediss", "redis+sentinel") or query or len(path) > 1:
            raise ValueError("another scheme, query or path")
        if (sentinel and not master) or (ca_file and scheme != "rediss"):
            raise ValueError("a Sentinel without a master, or a CA without TLS")
        return cls(
            hosts=hosts,
            database=int(path[0] or 0) if path else 0,
            user=unquote(user) or None,
            password=unquote(password) or None,
            tls=scheme == "rediss",
            ca_file=Path(ca_file) if ca_file else None,
            master=master,
        )

    def __str__(self) -> str:
        where = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return f"the master {self.master!r} of the Sentinels at {where}" if self.master else where


def _host(piece: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{piece}")
    if not parts.hostname:
        raise ValueError("no host")
    port = default if parts.port is None else parts.port
    if not port:
        raise ValueError("no port")
    return parts.hostname, port
