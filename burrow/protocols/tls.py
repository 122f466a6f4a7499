"""The kind "tls": a name on the server's TLS port, whose connections go to the upstream with their TLS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from burrow.errors import ConfigError
from burrow.protocols.access import CLIENT_CA
from burrow.protocols.admission import ALLOW, DENY
from burrow.protocols.base import Reach
from burrow.protocols.domain import DOMAIN
from burrow.protocols.options import KindOption, kind_option
from burrow.protocols.sharing import SHARE
from burrow.protocols.tcp import PROXY_PROTOCOL, TcpProtocol

MAX_ALPN = 10
"""Protocols of one tunnel, at most."""


def _parse_alpn(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,255}", text) or text == "acme-tls/1":
        raise ValueError("write the name of a protocol as ALPN has it, as in h2, http/1.1 or mqtt")
    return text


TERMINATE = kind_option(
    "terminate",
    "have the server end TLS, by a certificate of its own for the name, and pass the plain bytes on",
    False,
)
ALPN = kind_option(
    "alpn",
    "with --terminate: a protocol that the server agrees to by ALPN, the preferred first; may be repeated "
    "(default: it agrees to none by name)",
    parse=_parse_alpn,
    metavar="PROTOCOL",
    many=True,
)


def terminates(options: Mapping[str, Any]) -> bool:
    """Whether the server ends the TLS of a tunnel with these options, by key."""
    return bool(options.get(TERMINATE.key))


class TlsProtocol(TcpProtocol):
    """
    See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}. The upstream has the certificate; the
    server reads the ClientHello, which is in clear, and nothing else. With --terminate it is the other way
    round.
    """

    name = "tls"
    summary = "a name on the TLS port, whose TLS is the upstream's: its certificate, its ALPN"
    reach = Reach.SNI
    upstream_help = (
        "what to open, which speaks TLS itself, but with --terminate: PORT, HOST:PORT or unix:/PATH"
    )
    options: ClassVar[tuple[KindOption, ...]] = (
        DOMAIN,
        TERMINATE,
        ALPN,
        CLIENT_CA,
        ALLOW,
        DENY,
        PROXY_PROTOCOL,
        SHARE,
    )

    def check_options(self, options: dict[str, Any]) -> None:
        """See L{TunnelKind<burrow.protocols.kind.TunnelKind>}."""
        super().check_options(options)
        alpn = options.get(ALPN.key, ())
        if alpn and not terminates(options):
            raise ConfigError(
                "--alpn is for TLS that the server ends: add --terminate, or have the service agree"
            )
        if options.get(CLIENT_CA.key) and not terminates(options):
            raise ConfigError("--client-ca is for TLS that the server ends: add --terminate")
        if len(alpn) > MAX_ALPN:
            raise ConfigError(f"--alpn is possible {MAX_ALPN} times: leave out those that no visitor offers")
