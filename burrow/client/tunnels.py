"""What an agent is asked to keep open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from burrow.client.client_ca import with_client_ca
from burrow.client.sharing import with_share_key
from burrow.errors import BurrowError, ConfigError
from burrow.protocols.base import Kind
from burrow.protocols.domain import DOMAIN
from burrow.protocols.elsewhere import no_option
from burrow.protocols.kind import PORT
from burrow.protocols.options import as_written, read_options, sent_options
from burrow.protocols.registry import broken, kinds
from burrow.protocols.tcp import AsKind
from burrow.values import parse_name
from burrow.wording import FILE, Written, did_you_mean, shown


@dataclass(frozen=True)
class TunnelRequest:
    """
    One tunnel to open.

    @ivar kind: an L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>} provider.
    @ivar upstream: what its C{parse_upstream} returned.
    @ivar name: the name wanted; None for the server's choice.
    @ivar options: the values of the kind's options, by key; those that are missing have their defaults.
    """

    kind: Kind
    upstream: Any
    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def sent(self, agent: str = "") -> dict[str, Any]:
        """
        The options that the server is told, as JSON has them.

        @param agent: the agent's id: with the tunnel's name it makes the salt of secrets, which is nobody
            else's, and the same at each start, so that visitors who gave a password need not do so again.
        """
        # Agents that share a name have one salt, since the visitors of one are those of all.
        agent = "" if self.options.get("share") else agent
        salt = sha256(f"burrow salt\0{agent}\0{self.kind.name}\0{self.name}".encode()).digest()[:16]
        return sent_options(self.kind.options, self.options, salt)


def find_kind(name: str, written: Written = FILE) -> Kind:
    """@param written: how the error names kinds. @raise ConfigError: there is no kind of that name here."""
    kind = kinds().get(name)
    if kind is None:
        raise ConfigError(
            f"there are no tunnels of kind {shown(name)}: this Burrow knows {', '.join(sorted(kinds()))}"
            f"{did_you_mean(name, kinds())}{''.join(f'; {one}' for one in broken())}; where only the "
            f"server has the plugin for them, write {written.as_kind.format(shown(name))}"
        )
    return kind


_RANGE = re.compile(r"(?P<host>.+:)?(?P<ports>[0-9]+-[0-9]+)")


@dataclass(frozen=True)
class Several:
    """
    Several ports that a tunnel of one port was asked for.

    @ivar host: of an upstream, what stands before its ports, with the colon.
    @ivar services: the ports of the upstream, as in C{5000-5003}; None if it has one.
    @ivar publics: what was asked for at the server, if it is several.
    """

    host: str
    services: str | None
    publics: str | None


def several_ports(kind: Kind, upstream: str, given: Mapping[str, Any]) -> Several | None:
    """@return: None if it is one port, or the kind has no ports."""
    if PORT not in kind.options:
        return None
    wanted, found = given.get(PORT.key), _RANGE.fullmatch(upstream)
    publics = wanted if isinstance(wanted, str) and "-" in wanted.strip("-") else None
    if found is None:
        return None if publics is None else Several("", None, publics)
    return Several(found["host"] or "", found["ports"], publics)


MAX_UPSTREAM, MAX_NAME = 300, 255
"""Characters of an upstream's text, and of a name, at most: servers refuse longer ones."""


def tunnel_request(
    kind_name: str,
    upstream: str,
    name: str | None,
    given: Mapping[str, Any],
    written: Written = FILE,
) -> TunnelRequest:
    """
    @param given: options of the kind, by key: texts, or values of TOML.
    @param written: how errors name options.
    @raise ConfigError: the kind, the upstream, the name or an option is not possible; or it is several
        tunnels, which L{burrow.client.several} makes.
    """
    kind = find_kind(kind_name, written)
    if len(upstream) > MAX_UPSTREAM:
        raise ConfigError(
            f"the upstream {shown(upstream)} is too long: servers take {MAX_UPSTREAM} characters"
        )
    if not upstream.isprintable():
        raise ConfigError(f"{shown(upstream)} has characters that are not for an upstream: leave them out")
    # The server decides which names are possible. No server takes an empty, a long or an unprintable one.
    if name is not None and not (0 < len(name) <= MAX_NAME and name.isprintable()):
        try:
            parse_name(name)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    if (several := several_ports(kind, upstream, given)) is not None:
        text = shown(upstream)
        if several.services is None:
            text = f"{written.option(PORT.key)}{written.equals}{shown(several.publics)}"
        raise ConfigError(
            f"{text} is several ports, and a tunnel has one: write a tunnel for each{written.each}"
        )
    known = {each.key for each in kind.options}
    for key in given:
        if key not in known:
            raise ConfigError(no_option(kind, key, written))
    try:
        options = read_options(kind.options, given, written)
        if options.get(DOMAIN.key):
            raise ConfigError(f"a tunnel has one domain: give {options[DOMAIN.key][0]} as its name")
        kind.check_options(options)
        options = with_client_ca(with_share_key(options))
        parsed = kind.parse_upstream(upstream, options)
    except ConfigError as error:
        raise ConfigError(as_written(str(error), kind.options, written)) from error
    except BurrowError:
        raise
    except Exception as error:  # a kind is anybody's code
        raise ConfigError(
            f"the plugin for tunnels of kind {kind_name} failed: {type(error).__name__}: {error}"
        ) from error
    if options.get("end-to-end") and name is not None and name.startswith("*."):
        spelled = written.option("end-to-end")
        raise ConfigError(f"{spelled} gets a certificate for one host, and {name} has many: leave it out")
    if options.get("as"):
        if options["as"] in kinds():
            other = written.kind.format(options["as"])
            raise ConfigError(
                f"this Burrow has tunnels of kind {options['as']}: write {other}, without "
                f"{written.option('as')}"
            )
        kind = AsKind(options["as"])
    elif options.get("end-to-end"):
        from burrow.client.endtoend.kind import EndToEndKind, authority_of  # others need no cryptography

        kind = EndToEndKind(authority_of(options))
    return TunnelRequest(kind, parsed, name, options)
