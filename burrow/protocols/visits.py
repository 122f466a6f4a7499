"""
The options of kinds whose visitors come by host: what the edge does with their requests and the answers.

The server goes by them, on whichever node a visitor comes to: a tunnel's lease has its options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from burrow.errors import ConfigError
from burrow.policy.base import Answer, Policy, Visit
from burrow.policy.host import AUTO, HostHeader, RewriteHost, parse_host_header
from burrow.policy.routing import RouteByPath
from burrow.protocols.access import ACCESS, access, check_access
from burrow.protocols.base import Kind
from burrow.protocols.changes import HEADERS, change_rules, check_changes
from burrow.protocols.options import KindOption, kind_option, sent_options
from burrow.protocols.private import PRIVATE
from burrow.protocols.routing import ROUTE, check_routes
from burrow.protocols.rules import RULES, check_rules, first_rules, last_rules
from burrow.protocols.tables import POLICY, check_tables, first_of_tables, in_order, last_of_tables

HOST_HEADER = kind_option(
    "host-header",
    "the Host that the upstream is asked for: preserve (the visitor's), upstream (its own), a value, or "
    "auto: the visitor's, unless the upstream refuses that and answers to its own",
    HostHeader(AUTO),
    parse=parse_host_header,
    metavar="HOST",
)
VISITS: tuple[KindOption, ...] = (HOST_HEADER, *HEADERS, *RULES, ROUTE, POLICY, *ACCESS)
"""What a kind declares whose requests the edge reads."""


class Policies(NamedTuple):
    """
    What a tunnel's options make.

    @ivar usual: asked for each request; None if there is nothing to ask.
    @ivar own_host: the rule that asks for the upstream's own Host, to be tried where the upstream refuses
        the visitor's; None where that is not wanted.
    """

    usual: Policy | None
    own_host: RewriteHost | None


NO_POLICIES = Policies(None, None)


class _Unreadable:
    """Answers everything: what the tunnel's options ask for is not known, and may be who is kept out."""

    def visit(self, visit: Visit) -> Answer:
        return Answer(
            503,
            "newer-tunnel",
            "This server is too old for the tunnel",
            "The tunnel was opened on a newer server of the same cluster, with options that this one does "
            "not know. Its operator has to install that release here, too.",
        )


UNREADABLE = Policies(Policy([_Unreadable()]), None)
"""Of a tunnel on another node, whose release has options that this one lacks."""


def check_visits(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: the options do not go together."""
    check_rules(options)
    check_routes(options)
    check_changes(options)
    check_tables(options)
    check_access(options)
    # Kinds without these options may have some of the same names: tcp has --allow.
    reads_requests = HEADERS[0].key in options
    if options.get(PRIVATE.key) and reads_requests:
        for each in VISITS:
            if options.get(each.key) not in (None, each.default, ()):
                raise ConfigError(
                    f"{each.flag} is for visitors of a public URL: the server does not read what passes "
                    "through a private tunnel; leave one of both out"
                )


def has_rules(kind: Kind, options: Mapping[str, Any]) -> bool:
    """Whether something depends on a tunnel's options but its Host: perhaps whom it lets in."""
    return bool(_rules(kind, options))


def restricts(kind: Kind, options: Mapping[str, Any]) -> bool:
    """Whether a node that ignores a tunnel's options, but the port that it asks for, may let in too many."""
    return bool(_rules(kind, options) - {"port"})


def _rules(kind: Kind, options: Mapping[str, Any]) -> set[str]:
    return sent_options(kind.options, options).keys() - {HOST_HEADER.key}


def settled(kind: Kind, options: dict[str, Any], upstream: str) -> dict[str, Any]:
    """
    The options of a tunnel, with what follows from its upstream filled in.

    @param upstream: the upstream's description, as the agent sent it.
    """
    if HOST_HEADER not in kind.options or options.get(PRIVATE.key):
        return options
    return {**options, HOST_HEADER.key: options[HOST_HEADER.key].of(upstream)}


def policies(kind: Kind, options: Mapping[str, Any]) -> Policies:
    """What the options of a tunnel make. @param options: the values of all, by key, once L{settled}."""
    if not any(each in kind.options for each in VISITS) or options.get(PRIVATE.key):
        return NO_POLICIES
    rules = [*first_rules(options), *first_of_tables(options), *access(options)]
    rules += in_order([*last_rules(options), *change_rules(options), *last_of_tables(options)])
    if routes := options.get(ROUTE.key):
        rules.append(RouteByPath(route.path for route in routes))
    host = options.get(HOST_HEADER.key)
    own = None
    if host is not None and host.origin:
        own = RewriteHost(host.origin, forwards=host.mode != AUTO)
        if host.mode != AUTO:
            rules.append(own)
            own = None
    return Policies(Policy(rules) if rules else None, own)
