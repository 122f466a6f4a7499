"""The options of the client role."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from burrow.addresses import ListenAddress, parse_listen, parse_port
from burrow.options import option
from burrow.values import parse_count, parse_grace, parse_path, parse_secret_path


def parse_local(text: str, more: str = "") -> ListenAddress:
    """
    C{HOST:PORT}, C{:PORT} for all interfaces, or a port of the loopback; port 0 is one that is free.

    @param more: for the end of the error of what is none of these.
    """
    if text.isascii() and text.isdigit():
        return ListenAddress("127.0.0.1", parse_port(text) if text != "0" else 0)
    try:
        parsed = parse_listen(text)
    except ValueError:
        parsed = "off"
    if parsed == "off":
        raise ValueError(f"write PORT, HOST:PORT, or :PORT for all interfaces{more}")
    return parsed


def parse_inspect(text: str) -> ListenAddress:
    """See L{parse_local}."""
    return parse_local(text, "; --no-inspect is for none")


@dataclass(frozen=True)
class ClientConfig:
    """The options of an agent. Its tunnels come from arguments or from tables of the file."""

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
    inspect: ListenAddress | None = option(
        None,
        "where the inspector is, which shows requests and sends them again, as in 4041 or 127.0.0.1:4041 "
        "(default: 127.0.0.1:4040, or one of the next ports; with twistd: nowhere)",
        parse=parse_inspect,
        metavar="ADDRESS",
    )
    no_inspect: bool = option(False, "have no inspector")
    inspect_memory: int = option(
        "64", "MiB of requests that the inspector keeps", parse=parse_count, metavar="MIB"
    )
    log_level: str = option("warn", "how much is logged", choices=("debug", "info", "warn", "error"))
