"""
The steps of a connection to a server, one at a time, each with its own explanation. They block: no reactor
runs in this command while they do.
"""

from __future__ import annotations

import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from burrow.addresses import DEFAULT_PORTS, is_localhost
from burrow.cli.doctor.findings import Level, Wrong
from burrow.errors import ConfigError
from burrow.link.address import ServerAddress
from burrow.link.proxy import connect_request, proxy_for
from burrow.server.site import HEALTH_PATH
from burrow.wording import system_words

TIMEOUT = 10.0
"""Seconds that each step may take."""

MAX_SKEW = 60.0
"""Seconds by which this machine's clock may differ from a server's, before that is told."""

_EXPIRED, _NOT_YET, _NAME = 10, 9, 62
"""Of X509_verify_cert_error_string(3)."""


def addresses_of(host: str) -> list[str]:
    """The addresses of a host. @raise Wrong: it has none."""
    host = "localhost" if is_localhost(host) else host
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Wrong(
            f"no address is known for {host}",
            f"look for a typing error in {host}; if its DNS record is new, wait some minutes; "
            "look whether this machine is online",
        ) from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def clock_beside(whose: str, date: float | None) -> str:
    """
    Compare this machine's clock with another's.

    @param date: what it said that the time is, in seconds since the epoch; None if it did not say.
    @raise Wrong: they differ by more than L{MAX_SKEW}.
    """
    if date is None:
        return f"the {whose} does not say what time it has"
    skew = time.time() - date
    if abs(skew) > MAX_SKEW:
        way = "ahead of" if skew > 0 else "behind"
        raise Wrong(
            f"this machine's clock is {abs(skew):.0f} s {way} the {whose}'s",
            f"have it set by the network: `timedatectl set-ntp true`; or look at the {whose}'s",
        )
    return f"the same as the {whose}'s"


class Way:
    """
    The way to one server: each method takes one step of it, and says what is well, or raises L{Wrong}.

    @param ca_file: the CAs to trust, if not this machine's.
    """

    def __init__(self, address: ServerAddress, ca_file: Path | None) -> None:
        self._address = address
        self._ca_file = ca_file
        self._proxy: tuple[str, int, str] | None = None
        self._socket: socket.socket | None = None
        self._date: float | None = None

    def choose_proxy(self) -> str:
        """Which proxy the environment names."""
        try:
            self._proxy = proxy_for("https" if self._address.secure else "http", self._address.host)
        except ConfigError as error:
            raise Wrong(str(error), "correct the variable, or unset it") from error
        return "none" if self._proxy is None else f"{self._proxy[0]} port {self._proxy[1]}"

    def look_up(self) -> str:
        """The address of what is connected to."""
        host = self._address.host if self._proxy is None else self._proxy[0]
        return f"{host} is {', '.join(addresses_of(host))}"

    def domain(self, name: str) -> str:
        """Whether a domain of the user's own leads where the server is."""
        host = self._address.host
        found, here = addresses_of(name), addresses_of(host)
        if not set(found) <= set(here):
            raise Wrong(
                f"{name} leads to {', '.join(found)}, and the server is at {', '.join(here)}",
                f"set a CNAME record of {name} to {host}, as docs/domains.md says; right if {host} has "
                "addresses of its own for agents",
                Level.WARNING,
            )
        return f"{name} leads where the server is"

    def connect(self) -> str:
        """A TCP connection, through the proxy if there is one."""
        host, port = self._proxy[:2] if self._proxy is not None else (self._address.host, self._address.port)
        host = "localhost" if is_localhost(host) else host
        begun = time.monotonic()
        try:
            self._socket = socket.create_connection((host, port), TIMEOUT)
        except ConnectionRefusedError as error:
            what = "the proxy" if self._proxy is not None else "the server"
            raise Wrong(
                f"nothing listens on {host} port {port}", f"look whether {what} runs, and for its port"
            ) from error
        except OSError as error:
            raise Wrong(
                f"{host} port {port} does not answer: {system_words(error)}",
                "a firewall between here and there may drop the packets: ask for the port to be opened; or "
                "name an HTTP proxy in HTTPS_PROXY",
            ) from error
        took = (time.monotonic() - begun) * 1000
        if self._proxy is not None:
            self._ask_proxy(self._proxy)
        return f"{host} port {port} accepts connections, within {took:.0f} ms"

    def _ask_proxy(self, proxy: tuple[str, int, str]) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(connect_request(self._address.host, self._address.port, proxy[2]))
            answer = HTTPResponse(self._socket, method="CONNECT")
            answer.begin()
        except (OSError, HTTPException) as error:
            raise Wrong(
                f"the proxy does not answer as an HTTP proxy: {system_words(error)}",
                "look for its port: HTTPS_PROXY=http://HOST:PORT",
            ) from error
        if answer.status != 200:
            raise Wrong(
                f"the proxy refuses to connect to {self._address}: HTTP status {answer.status}",
                "with 407 it wants a user and password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
                if answer.status == 407
                else "ask its owner to allow that, or name the server in NO_PROXY",
            )

    def verify(self) -> str:
        """The server's certificate."""
        if not self._address.secure:
            if not self._address.private:
                raise Wrong(
                    "the connection is not encrypted: whoever is between reads the token",
                    "use https:// where the server has it",
                    Level.WARNING,
                )
            return "none is needed: the connection stays on this machine"
        assert self._socket is not None
        context = self._context()
        context.set_alpn_protocols(["http/1.1"])
        try:
            secured = context.wrap_socket(self._socket, server_hostname=self._address.host)
        except ssl.SSLCertVerificationError as error:
            raise self._mistrust(error) from error
        except ssl.SSLError as error:
            raise Wrong(
                f"TLS with {self._address} failed: {error.reason or error}",
                "look whether that port speaks TLS, and whether the server knows that name",
            ) from error
        except OSError as error:
            raise Wrong(
                f"{self._address} ended the TLS handshake: {system_words(error)}",
                "look in the server's log; something between may forbid it",
            ) from error
        self._socket = secured
        certificate = secured.getpeercert() or {}
        days = (ssl.cert_time_to_seconds(str(certificate.get("notAfter"))) - time.time()) / 86_400
        return f"valid for {self._address.host}, for {days:.0f} days more"

    def _context(self) -> ssl.SSLContext:
        if self._ca_file is None:
            return ssl.create_default_context()
        try:
            return ssl.create_default_context(cafile=str(self._ca_file))
        except (OSError, ssl.SSLError) as error:
            raise Wrong(
                f"the CA file {self._ca_file} cannot be used: {system_words(error)}",
                "name another with --ca-file",
            ) from error

    def _mistrust(self, error: ssl.SSLCertVerificationError) -> Wrong:
        where = self._address
        if error.verify_code == _EXPIRED:
            return Wrong(
                f"the certificate of {where} has expired, by this machine's clock",
                "look at the clock here; on the server, `burrow certs` says why it was not renewed",
            )
        if error.verify_code == _NOT_YET:
            return Wrong(
                f"the certificate of {where} is not valid yet, by this machine's clock",
                "set this machine's clock",
            )
        if error.verify_code == _NAME:
            return Wrong(
                f"{where} shows a certificate of another name",
                "look for a typing error in the server's name; something else may listen on that port",
            )
        return Wrong(
            f"this machine does not believe the certificate of {where}: {error.verify_message}",
            "with a CA of your own, name it with --ca-file FILE (or BURROW_CA_FILE)",
        )

    def ask_health(self) -> str:
        """The server's health page."""
        assert self._socket is not None
        lines = [f"GET {HEALTH_PATH} HTTP/1.1", f"Host: {self._host()}", "Connection: close"]
        try:
            with self._socket:
                self._socket.settimeout(TIMEOUT)
                self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
                answer = HTTPResponse(self._socket)
                answer.begin()
                body = answer.read(10_000)
        except (OSError, HTTPException) as error:
            raise Wrong(
                f"{self._address} does not answer a request: {error or type(error).__name__}",
                "look whether a Burrow server listens there, and in its log",
            ) from error
        date = answer.getheader("Date")
        if date is not None:
            self._date = parsedate_to_datetime(date).timestamp()
        if answer.status != 200 or b"Burrow" not in body:
            raise Wrong(
                f"{self._address} does not answer as a Burrow server: HTTP status {answer.status}",
                "look for the server's name and port; a proxy before it has to pass /_burrow/ on: see "
                "docs/nginx.md",
            )
        return "a Burrow server answers"

    def _host(self) -> str:
        scheme = "https" if self._address.secure else "http"
        return self._address.host if self._address.port == DEFAULT_PORTS[scheme] else self._address.authority

    def compare_clocks(self) -> str:
        """This machine's clock beside the server's."""
        return clock_beside("server", self._date)
