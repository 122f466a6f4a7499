"""How what this node has is told in the API's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography import x509

from burrow.certificates.issued import read_chain, renewal_time
from burrow.errors import ConfigError
from burrow.mux.control import shown
from burrow.protocols.base import Kind
from burrow.protocols.options import read_options, told_options
from burrow.protocols.private import public_kind
from burrow.server.audit import Entry
from burrow.server.events import Event
from burrow.server.nodes.records import Lease, Node
from burrow.shown import escaped
from burrow.store.base import Reservation, Token
from burrow.wording import iso

if TYPE_CHECKING:  # commands that look into a store need none of them
    from burrow.server.agent import Agent
    from burrow.server.tunnel import Tunnel

Item = dict[str, Any]


def iso_or_none(when: float | None) -> str | None:
    """The same, or None."""
    return None if when is None else iso(when)


def session_id(node: str, agent: Agent) -> str:
    """The id of an agent's session."""
    return f"{node}-{agent.number}"


def told(tunnel: Tunnel) -> Item:
    """The options that a tunnel's owner set, by key, without secrets."""
    return _told(tunnel.kind, tunnel.options)


def _told(kind: Kind, options: Mapping[str, Any]) -> Item:
    return {key: _escaped(value) for key, value in told_options(kind.options, options).items()}


def told_of_lease(lease: Lease, known: Mapping[str, Kind]) -> Item | None:
    """
    The same of a tunnel of a node that does not answer.

    @param known: the kinds of this node. @return: None if it does not know the kind, or all of the options.
    """
    kind = known.get(public_kind(lease.kind) or lease.kind)
    if kind is None:
        return None
    try:
        return _told(kind, read_options(kind.options, json.loads(lease.options or "{}")))
    except (ConfigError, ValueError, AttributeError):  # another release wrote them
        return None


def _escaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return escaped(value) if isinstance(value, str) else value


def tunnel_item(node: str, tunnel: Tunnel, agent: Agent, since: float) -> Item:
    """A tunnel that is open on this node. @param since: when it opened, seconds since the epoch."""
    return {
        "name": tunnel.name,
        "kind": tunnel.kind.name,
        "url": tunnel.url,
        "upstream": escaped(tunnel.reservation.upstream),
        "port": tunnel.reservation.port,
        "owner": agent.token.name,
        "agent": agent.agent_id,
        "session": session_id(node, agent),
        "address": shown(agent.session.peer),
        "inspector": agent.handshake.inspector or None,
        "node": node,
        "state": "open" if tunnel.connected else "detached",
        "since": iso(since),
        "visitors": 0,
        "requests": tunnel.requests,
        "received": tunnel.tally.sent,  # sent to the agent
        "sent": tunnel.tally.received,
    }


def away_item(lease: Lease, owner: str) -> Item:
    """A tunnel of a node that does not answer, as far as its lease tells."""
    return {
        "name": lease.name,
        "kind": public_kind(lease.kind) or lease.kind,
        "url": None,
        "upstream": None,
        "port": lease.port,
        "owner": owner,
        "agent": None,
        "session": None,
        "address": None,
        "inspector": None,
        "node": lease.node,
        "state": "away",
        "since": iso(lease.since),
        "visitors": 0,
        "requests": None,
        "received": None,
        "sent": None,
    }


def session_item(node: str, agent: Agent) -> Item:
    """An agent's session on this node."""
    return {
        "id": session_id(node, agent),
        "agent": agent.agent_id,
        "token": agent.token.name,
        "address": shown(agent.session.peer),
        "node": node,
        "state": "open" if agent.attached else "detached",
        "since": iso(agent.since),
        "tunnels": sorted(agent.tunnels),
        "streams": agent.session.stream_count,
        "version": escaped(agent.handshake.version)[:40],
        "round_trip": agent.session.pings.last,
    }


def name_item(known: Reservation, owner: str, is_open: bool) -> Item:
    """A name that is owned."""
    return {
        "name": known.name,
        "kind": known.kind,
        "owner": owner,
        "reserved": iso(known.created),
        "last_seen": iso_or_none(known.used),
        "port": known.port,
        "upstream": escaped(known.upstream),
        "open": is_open,
    }


def token_item(token: Token, names: int) -> Item:
    """A token, without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "created": iso(token.created),
        "last_used": iso_or_none(token.last_used),
        "names": names,
        "max_names": token.max_names,
        "max_ports": token.max_ports,
        "max_tunnels": token.max_tunnels,
        "max_sessions": token.max_sessions,
    }


def node_item(node: Node, answer: Item | None) -> Item:
    """A node. @param answer: what it says of itself; None if it does not."""
    known = answer or {}
    return {
        "id": node.id,
        "address": f"[{node.host}]:{node.port}" if ":" in node.host else f"{node.host}:{node.port}",
        "version": node.version,
        "started": iso(node.started),
        "tunnels": known.get("tunnels"),
        "sessions": known.get("sessions", sum(node.sessions.values())),
        "visitors": known.get("visitors"),
        "draining": node.draining,
        "answers": answer is not None,
    }


def event_id(event: Event) -> str:
    """The id of an event; ids are in the order of the events' times."""
    return f"{int(event.when * 1e6):017d}-{event.node}-{event.number}"


def event_item(event: Event) -> Item:
    """An event."""
    return {
        "id": event_id(event),
        "when": iso(event.when),
        "node": event.node,
        "kind": event.kind,
        "text": event.text,
    }


def audit_item(entry: Entry) -> Item:
    """A change, and who made it."""
    return {
        "when": iso(entry.when),
        "who": entry.who,
        "action": entry.action,
        "target": entry.target,
        "address": entry.address,
        "result": entry.result,
    }


def certificate_item(
    host: str, leaf: x509.Certificate | None, now: float, error: str | None = None, *, renewed: bool = True
) -> Item:
    """
    A certificate.

    @param now: seconds since the epoch. @param error: of its last renewal, if that failed.
    @param renewed: whether the server renews it.
    """
    item: Item = {"host": host, "issuer": None, "not_before": None, "not_after": None}
    if leaf is None:
        return {**item, "state": "failed" if error else "missing", **_error(error)}
    names = leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    issuer = str(names[0].value) if names else leaf.issuer.rfc4514_string()
    ends = leaf.not_valid_after_utc.timestamp()
    due = renewal_time(leaf, lambda low, high: high)
    state = "expired" if ends <= now else "failed" if error else "valid"
    item |= {
        "issuer": escaped(issuer),
        "not_before": iso(leaf.not_valid_before_utc.timestamp()),
        "not_after": iso(ends),
        "state": "due" if state == "valid" and renewed and due <= now else state,
        **_error(error),
    }
    return {**item, "next_try": iso(due)} if renewed else item


def _error(error: str | None) -> Item:
    return {"error": escaped(error)} if error else {}


def leaves_of(texts: dict[str, str]) -> dict[str, x509.Certificate | None]:
    """The leaves in texts of the store; None for what cannot be read."""
    found: dict[str, x509.Certificate | None] = {}
    for host, text in texts.items():
        try:
            found[host] = read_chain(text)[0]
        except (ValueError, IndexError):
            found[host] = None
    return found
