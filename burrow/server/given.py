"""What an agent gave for a tunnel, against what the server's plugin of its kind knows."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from burrow import __version__
from burrow.errors import BadOption, BurrowError, ConfigError, UnknownProtocol
from burrow.protocols.access import check_hashed
from burrow.protocols.base import Kind
from burrow.protocols.options import read_options
from burrow.wording import shown

_log = Logger()


def plugin_failed(kind: Kind) -> BadOption:
    """What an agent is told whose tunnel a plugin failed for. Logs the exception that is being handled."""
    _log.failure("the plugin for tunnels of kind {kind} failed", kind=kind.name)
    return BadOption(f"the server's plugin for tunnels of kind {kind.name} failed: its owner's log says why")


def read_given(kind: Kind, given: dict[str, Any]) -> dict[str, Any]:
    """
    The values of all options of a kind.

    @raise BadOption: what an agent gave is not possible, or the plugin fails, which is anybody's code.
    """
    try:
        known = {each.key for each in kind.options if each.for_server}
        unknown = ", ".join(sorted(set(given) - known))
        if unknown:
            raise BadOption(
                f"tunnels of kind {kind.name!r} have no option {unknown[:80]} at this server, of release "
                f"{__version__}: a newer agent needs a newer server"
            )
        for each in kind.options:
            if each.number and isinstance(given.get(each.key), str):
                raise BadOption(f"{each.key} = {shown(given[each.key])} is not possible: write a number")
        options = read_options(kind.options, given)
        kind.check_options(options)
        check_hashed(options)
    except ConfigError as error:
        raise BadOption(str(error)) from error
    except BurrowError:
        raise
    except Exception as error:
        raise plugin_failed(kind) from error
    return options


def common_version(kind: Kind, oldest: int, newest: int) -> int:
    """The newest version that both speak. @raise UnknownProtocol: there is none."""
    chosen = min(kind.version, newest)
    if chosen < max(kind.oldest, oldest):
        older = "agent" if newest < kind.oldest else "server"
        raise UnknownProtocol(
            f"the server speaks versions {kind.oldest} to {kind.version} of tunnels of kind {kind.name!r}, "
            f"the agent {oldest} to {newest}: install a newer release on the {older}"
        )
    return int(chosen)
