"""The local service behind an agent: how a person names it, and what a failure to connect to it means."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import TimeoutError as DeferTimeoutError
from twisted.internet.error import (
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)

from burrow.addresses import DEFAULT_PORTS, authority, is_localhost
from burrow.errors import BurrowError, ConfigError
from burrow.trust import trust_root
from burrow.wording import system_words

CONNECT_TIMEOUT = 10.0
"""Seconds."""

MAX_PATH = 107
"""Bytes of a UNIX socket's path, at most (unix(7))."""

_UNIX_HTTP2 = "h2c+unix:"
_SEVERAL_PORTS = re.compile(r"(?:.*:)?[0-9]+-[0-9]+/?")
_DEFAULTS = {**DEFAULT_PORTS, "h2c": DEFAULT_PORTS["http"], "h2": DEFAULT_PORTS["https"]}
_WITHOUT_HTTP2 = {"h2c": "http", "h2": "https"}
_PUBLIC = {
    "refused": "Nothing listens there. Is the service started?",
    "timeout": f"It did not answer within {CONNECT_TIMEOUT:.0f} seconds.",
    "unknown-host": "Its host has no known address.",
    "certificate": "Its certificate is not believed.",
    "failed": "The agent's screen says why.",
}
"""What visitors learn of an upstream on another machine than the agent's."""


class UpstreamFailed(BurrowError):
    """
    The upstream cannot be connected to. The text is for the agent's screen.

    @ivar code: "refused", "timeout", "unknown-host", "certificate" or "failed".
    @ivar public: a text for visitors, which does not name hosts of the agent's network; by default the text.
    @ivar told: whether the text was logged already.
    """

    def __init__(self, code: str, text: str, public: str = "", *, told: bool = False) -> None:
        super().__init__(text)
        self.told = told
        self.code = code
        self.public = public or text


class NotHttp2(Exception):
    """An upstream that was to speak HTTP/2 does not. The text says what it did instead, as a predicate."""


@dataclass(frozen=True, slots=True)
class UpstreamTLS:
    """
    How an agent checks the certificate of an https or h2 upstream.

    @ivar ca_file: trust only the authorities in this file, also on the loopback; None for the machine's.
    @ivar insecure: accept any certificate. @ivar name: the name to ask for (SNI) and to find in the
        certificate, where it is not the upstream's host.
    """

    ca_file: Path | None = None
    insecure: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    Where the service is.

    @ivar scheme: "http", "https", "h2c", "h2", "tcp" or "unix". @ivar host: without brackets; of a UNIX
        socket its path.
    @ivar tls: for "https" and "h2". @ivar http2: whether HTTP/2 is spoken with it, inside TLS or without.
    """

    scheme: str
    host: str
    port: int
    tls: UpstreamTLS = UpstreamTLS()
    http2: bool = False

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme in ("https", "h2")

    @classmethod
    def parse(cls, text: str, schemes: tuple[str, ...]) -> Upstream:
        """
        Read C{PORT}, C{HOST:PORT}, C{SCHEME://HOST[:PORT]} or C{unix:/PATH}, before which C{h2c+} says that
        HTTP/2 is spoken there. A host alone is none.

        @param schemes: which may be; the first is the one meant without any.
        @raise ConfigError: it is none of these.
        """
        if text.startswith("unix:"):
            return cls("unix", _socket_path(text), 0)
        if text.startswith(_UNIX_HTTP2) and "h2c" in schemes:
            return cls("unix", _socket_path(text.removeprefix("h2c+")), 0, http2=True)
        examples = f"write a port, HOST:PORT, {schemes[0]}://HOST:PORT or unix:/PATH"
        if not text.strip():
            raise ConfigError(f"the upstream is empty: {examples}")
        # Kinds with a public port have made one upstream of each port before (burrow.client.port_ranges).
        if _SEVERAL_PORTS.fullmatch(text):
            raise ConfigError(f"{text!r} is several ports, and an upstream here has one: write one of them")
        url = f"localhost:{text}" if text.isdigit() else text
        if "://" not in url:
            url = f"{schemes[0]}://{url}"
        try:
            parts = urlsplit(url)
        except ValueError:  # brackets that do not match
            raise ConfigError(f"{text!r} is no upstream: {examples}") from None
        try:
            port = parts.port
        except ValueError:
            raise ConfigError(f"{text!r} has no possible port: ports are 1 to 65535") from None
        if parts.scheme not in schemes or not parts.hostname or parts.username:
            raise ConfigError(f"{text!r} is no upstream: {examples}")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            if port is None and "://" not in text:
                raise ConfigError(
                    f"{text!r} is no upstream: {examples}; for a folder or file: burrow files {text}"
                )
            raise ConfigError(
                f"the upstream {text!r} must end after the port: a path is the visitor's to choose"
            )
        if port is None:
            if "://" not in text:
                # Not the scheme's default port: a single word may be anything, not only a host.
                url = f", or {schemes[0]}://{text} for its own port" if schemes[0] == "http" else ""
                raise ConfigError(f"{text!r} is no upstream, having no port: {examples}{url}")
            port = _DEFAULTS.get(parts.scheme)
        if not port:
            raise ConfigError(f"{text!r} has no possible port: ports are 1 to 65535")
        return cls(parts.scheme, parts.hostname, port, http2=parts.scheme in _WITHOUT_HTTP2)

    def with_tls(self, tls: UpstreamTLS) -> Upstream:
        """
        The same upstream, with other rules for its certificate.

        @raise ConfigError: it has none, the rules contradict themselves, or the CA file cannot be read.
        """
        if tls == UpstreamTLS():
            return self
        if not self.secure:
            inside = {"http": "https", "h2c": "h2"}.get(self.scheme)
            instead = f"write {replace(self, scheme=inside)}, or " if inside else ""
            raise ConfigError(
                "--upstream-ca, --upstream-insecure and --upstream-name are for https:// and h2:// only, not "
                f"{self}: {instead}leave them out"
            )
        if tls.insecure and tls.ca_file is not None:
            raise ConfigError("--upstream-insecure believes any certificate: leave --upstream-ca out")
        if tls.ca_file is not None:
            trust_root(tls.ca_file)
        return replace(self, tls=tls)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"{_UNIX_HTTP2 if self.http2 else 'unix:'}{self.host}"
        return f"{self.scheme}://{authority(self.host, self.port)}"

    @property
    def loopback(self) -> bool:
        """Whether it is on the agent's own machine, by its name or address."""
        if self.scheme == "unix":
            return False
        if is_localhost(self.host):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def explain(self, error: Exception) -> UpstreamFailed:
        """The error for a failure to connect: what went wrong, and what to do about it."""
        where = str(self) if self.scheme == "unix" else f"{self.host} port {self.port}"
        if self.scheme == "unix" and getattr(error, "osError", None) == errno.ENOENT:
            return self._failed("refused", f"There is no socket {self.host}. Is the service started?")
        if isinstance(error, VerificationError):
            name = self.tls.name or self.host
            return self._failed(
                "certificate",
                f"The certificate of {where} is not for {name}: say which name it has with --upstream-name.",
            )
        if isinstance(error, SSL.Error) and "certificate verify failed" in str(error):
            return self._failed(
                "certificate",
                f"This machine does not believe the certificate of {where}: name its CA with --upstream-ca "
                "FILE, or believe any with --upstream-insecure.",
            )
        if isinstance(error, SSL.Error):
            return self._failed(
                "failed", f"TLS with {where} failed: {_ssl_reason(error)}. Does it speak TLS?"
            )
        if isinstance(error, NotHttp2):
            return self._failed("failed", f"{where} {error}: {self._instead()}")
        if isinstance(error, ConnectionRefusedError):
            return self._failed("refused", f"Nothing listens on {where}. Is the service started?")
        if isinstance(error, (TimeoutError, DeferTimeoutError)):
            return self._failed(
                "timeout", f"Nothing at {where} answered within {CONNECT_TIMEOUT:.0f} seconds."
            )
        if isinstance(error, DNSLookupError):
            return self._failed("unknown-host", f"No address is known for {self.host}.")
        return self._failed("failed", f"Connecting to {where} failed: {system_words(error)}.")

    def _instead(self) -> str:
        """What to do about an upstream that speaks no HTTP/2."""
        if self.scheme == "unix":
            return f"if it speaks HTTP/1.1, write unix:{self.host}."
        other = "" if self.secure else ", and if it speaks HTTP/2 inside TLS alone, h2://"
        return f"if it speaks HTTP/1.1, write {_WITHOUT_HTTP2[self.scheme]}://{other}."

    def no_descriptor(self) -> UpstreamFailed:
        """The error when no file descriptor is left for a connection."""
        text = "The agent has as many connections open as it may have"
        # L{Shortage} logs it once a minute, not once a visitor.
        return UpstreamFailed(
            "failed", f"{text}: none is left for {self}.", f"{text}. Try again soon.", told=True
        )

    def _failed(self, code: str, text: str) -> UpstreamFailed:
        """An error whose public text names the host only if it is the loopback."""
        return UpstreamFailed(code, text, text if self.loopback else _PUBLIC.get(code, _PUBLIC["failed"]))


def _socket_path(text: str) -> str:
    """The path in C{unix:/PATH}, C{unix:///PATH} likewise. @raise ConfigError: it is not possible."""
    path = text.removeprefix("unix:")
    path = path.removeprefix("//") if path.startswith("///") else path
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError(f"{text!r} is no upstream on this system, which has no UNIX sockets")
    if not path.startswith("/") or path.startswith("//"):
        raise ConfigError(f"{text!r} is no upstream: write the whole path, as in unix:/run/service.sock")
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigError(f"{text!r} is too long for a UNIX socket: {MAX_PATH} bytes are possible")
    return path


def _ssl_reason(error: SSL.Error) -> str:
    """The last of OpenSSL's reasons, which says most."""
    reasons = error.args[0] if error.args else []
    return str(reasons[-1][-1]) if reasons else "the connection was closed"
