"""What to write in the place of an option that a kind of tunnel has not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from burrow.protocols.base import Kind, Reach
from burrow.protocols.registry import kinds
from burrow.wording import FILE, Written, did_you_mean, listed

_BY_NAME = {"port": "visitors reach it by its name: write {name}, or {tcp} for a public port"}
_TLS_ENDS = "the server ends TLS for it in any case: leave it out"
_ANY_DOMAIN = "any domain whose DNS leads to the server reaches its port: leave it out"
_ONE_AGENT = "one agent serves a UDP port: give each agent's tunnel a name of its own"
_FIREWALL = "let the firewall of the server's machine decide who may send, and leave it out"
_INSTEAD: Mapping[Reach, Mapping[str, str]] = {
    Reach.HOST: {
        **_BY_NAME,
        "proxy-protocol": "requests tell each visitor's address, in X-Forwarded-For: leave it out",
        "terminate": _TLS_ENDS,
        "alpn": _TLS_ENDS,
    },
    Reach.SNI: {
        **_BY_NAME,
        "end-to-end": "TLS is the service's own in any case: leave it out",
        "private": "write {tcp} with it: TLS passes through that as it is",
        "allow-token": "write {tcp} with {private}: TLS passes through that as it is",
    },
    Reach.TCP_PORT: {"domain": _ANY_DOMAIN},
    Reach.UDP_PORT: {
        "domain": _ANY_DOMAIN,
        "allow": _FIREWALL,
        "deny": _FIREWALL,
        "share": _ONE_AGENT,
        "sticky": _ONE_AGENT,
        "health-path": _ONE_AGENT,
        "proxy-protocol": "no such header goes before datagrams: leave it out",
    },
}
"""By where visitors reach a kind: what does the same. For all other options who has them is named."""


def who_has(key: str) -> list[str]:
    """The kinds that have an option."""
    return [name for name, each in sorted(kinds().items()) if key in _keys(each)]


def no_option(kind: Kind, key: str, written: Written = FILE) -> str:
    """
    The sentence that refuses an option.

    @param key: of an option that the kind has not. @param written: where it was given.
    """
    spelled = written.option(key)
    begins = f"tunnels of kind {kind.name} have no option {spelled}"
    owners = who_has(key)
    known = [*written.others, *map(written.option, _keys(kind))]
    if not owners:
        return f"{begins}{did_you_mean(spelled, known) or ': leave it out'}"
    instead = _INSTEAD.get(kind.reach, {}).get(key)
    if instead is None:
        has = "has" if len(owners) == 1 else "have"
        return f"{begins}: write {_kinds(owners, written)}, which {has} it, or leave it out"
    texts = {"name": written.name, "private": written.switch("private"), "tcp": _kinds(["tcp"], written)}
    return f"{begins}: {instead.format_map(texts)}"


def _keys(kind: Kind) -> list[str]:
    return [each.key for each in kind.options]


def _kinds(names: Iterable[str], written: Written) -> str:
    """Kinds as they are written, the last one behind an "or"."""
    return listed([written.kind.format(name) for name in names], "or")
