"""The address of a server, and the credentials of an agent."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from burrow.addresses import DEFAULT_PORTS, authority, is_localhost
from burrow.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """
    Where a server is.

    @ivar secure: whether it is reached over TLS. @ivar host: a name or an address, IPv6 without brackets.
    """

    secure: bool
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """
        Read C{https://host[:port]}, C{http://host[:port]}, or a host alone, which means https, if it
        has a dot or a port or is localhost: any other word may be meant otherwise.

        @raise ConfigError: it is none of these.
        """
        try:
            parts = urlsplit(text if "//" in text else "https://" + text)
        except ValueError:  # brackets that do not match
            parts = urlsplit("")
        try:
            port = parts.port
        except ValueError:
            port = 0
        is_word = "//" not in text and not set(text) & set(".:") and text.lower() != "localhost"
        if (
            is_word
            or parts.scheme not in ("https", "http")
            or not parts.hostname
            or port == 0
            or not text.isprintable()
        ):
            raise ConfigError(f"{text!r} is no server address: write it as https://example.com")
        if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(f"the server address {text!r} must end after the host and port")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, port or DEFAULT_PORTS[parts.scheme])

    @property
    def authority(self) -> str:
        """C{host:port}, as in a Host header."""
        return authority(self.host, self.port)

    @property
    def private(self) -> bool:
        """Whether what is sent cannot be read on the way: it goes over TLS, or stays on this machine."""
        host = self.host.rstrip(".")
        if self.secure or is_localhost(host):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What an agent needs to connect.

    @ivar token: the bearer token; never shown. @ivar agent: the agent's id.
    @ivar ca_file: trust the CAs in this file alone; None for the machine's.
    @ivar ca_pem: trust the CAs in this PEM text alone, whatever C{ca_file} is; empty for none.
    """

    address: ServerAddress
    token: str = field(repr=False)
    agent: str
    ca_file: Path | None = None
    ca_pem: str = ""
