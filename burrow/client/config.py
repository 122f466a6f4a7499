"""The options of the client role."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from burrow.options import option
from burrow.values import parse_grace, parse_path, parse_secret_path


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
    log_level: str = option("warn", "how much is logged", choices=("debug", "info", "warn", "error"))
