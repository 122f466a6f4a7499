"""The kind "tcp": a public port, each connection to it one to the upstream, byte for byte."""

from __future__ import annotations

import re

from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import Side, kind_option


def _parse_kind(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]{0,30}", text):
        raise ValueError("write the name of a kind, as in --as redis")
    return text


AS = kind_option(
    "as",
    "ask for a tunnel of this kind, which the server has a plugin for and this machine has not; its bytes go "
    "to the upstream as they are",
    "",
    side=Side.AGENT,
    parse=_parse_kind,
    metavar="KIND",
)


class TcpProtocol(TunnelKind):
    """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""

    name = "tcp"
    summary = "a TCP port: databases, SSH, anything"
    options = (PORT, AS)


class AsKind(TunnelKind):
    """A kind that is the server's alone. @param name: what the server calls it."""

    summary = "a kind of the server's"

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
