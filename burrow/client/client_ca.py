"""The CAs of C{--client-ca}, from the agent's own file."""

from __future__ import annotations

from typing import Any

from burrow.errors import ConfigError
from burrow.policy.client_ca import MAX_TEXT, CAFile, ClientCAs
from burrow.protocols.access import CLIENT_CA


def with_client_ca(options: dict[str, Any]) -> dict[str, Any]:
    """
    The options of a tunnel, with what is in the file that C{--client-ca} names in its place.

    @raise ConfigError: it cannot be read, or does not hold what it should.
    """
    given = options.get(CLIENT_CA.key)
    if not isinstance(given, CAFile):
        return options
    try:
        with given.path.open(encoding="ascii", errors="replace") as file:
            cas = ClientCAs.read(file.read(4 * MAX_TEXT))
    except OSError as error:
        raise ConfigError(f"{CLIENT_CA.flag}: cannot read {given}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{CLIENT_CA.flag} {given}: {error}") from error
    return {**options, CLIENT_CA.key: cas}
