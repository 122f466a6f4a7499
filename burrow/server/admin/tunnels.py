"""Operations of the admin API on tunnels and sessions, wherever in the cluster they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from burrow.protocols.registry import kinds
from burrow.server.admin.api import Call, Handler, only
from burrow.server.admin.describe import Item, away_item, told_of_lease
from burrow.server.admin.paging import after, page
from burrow.server.admin.principal import Principal
from burrow.server.admin.problems import Problem
from burrow.server.admin.schemas import as_documented
from burrow.server.nodes.asking import Questions, Read, Unanswered, as_told
from burrow.server.nodes.cluster import Cluster
from burrow.store.base import IStore


def own(who: Principal) -> str | None:
    """The id of the token whose things alone are told; None for all."""
    return None if who.sees_all else who.id


def silent(node: str) -> Problem:
    """The node that has it did not answer."""
    text = (
        f"The node {node}, which has it, does not answer. A change may be made all the same once it does: "
        "look first, then try again."
    )
    return Problem(504, text, {"Retry-After": "2"})


class _Told(NamedTuple):
    """
    What a node tells of tunnels: see L{LocalPart._list_tunnels<burrow.server.admin.local.LocalPart>}.

    @ivar seen: how many visitors and requests of each tunnel came to it, by name.
    """

    items: list[Item]
    seen: dict[str, tuple[int, int]]

    @classmethod
    def read(cls, answer: Any) -> _Told:
        """From a node's answer."""
        seen = {name: (int(numbers[0]), int(numbers[1])) for name, numbers in answer["seen"].items()}
        return cls([as_documented("Tunnel", item) for item in answer["items"]], seen)


def _sessions(answer: Any) -> list[Item]:
    """The sessions that a node told of."""
    return [as_documented("Session", item) for item in answer]


class TunnelsAndSessions:
    """@param cluster: knows which node has a tunnel."""

    def __init__(self, questions: Questions, cluster: Cluster, store: IStore) -> None:
        self._questions = questions
        self._cluster = cluster
        self._store = store

    @property
    def handlers(self) -> dict[str, Handler]:
        """See L{Api<burrow.server.admin.api.Api>}."""
        return {
            "list_tunnels": self._list_tunnels,
            "get_tunnel": self._get_tunnel,
            "close_tunnel": self._close_tunnel,
            "list_sessions": self._list_sessions,
            "get_session": self._get_session,
            "end_session": self._end_session,
        }

    # -- tunnels -------------------------------------------------------------------------------------------

    async def _list_tunnels(self, call: Call) -> Item:
        last, token = after(call.query), own(call.who)
        items, unanswered = await self._tunnels(token, after=last, most=call.query["limit"] + 1)
        return page(items, call.query, lambda item: str(item["name"]), unanswered)

    async def _get_tunnel(self, call: Call) -> Item:
        found: Item = only(await self.tunnel(call.path["name"], call.who), "tunnel", "/tunnels")
        return found

    async def tunnel(self, name: str, who: Principal) -> Item | None:
        """The tunnel of a name, if it is open and C{who} may see it."""
        items, _ = await self._tunnels(own(who), name=name, most=1)
        return items[0] if items else None

    async def _tunnels(self, token: str | None, **of: Any) -> tuple[list[Item], list[str]]:
        """The tunnels of all nodes, and the ids of nodes that did not answer."""
        answers, unanswered = await self._questions.ask_all("tunnels", _Told.read, token=token, **of)
        found: dict[str, Item] = {}
        for answer in answers.values():
            for item in answer.items:
                known = found.get(item["name"])  # one that moves may be on two nodes for a moment
                if known is None or item["since"] > known["since"]:
                    found[item["name"]] = item
        for item in found.values():
            told = [answer.seen.get(item["name"], (0, 0)) for answer in answers.values()]
            item["visitors"], requests = (sum(numbers) for numbers in zip(*told, strict=True))
            item["requests"] += requests
        if unanswered:
            away = await self._away(unanswered, token, of)
            found = {**{item["name"]: item for item in away}, **found}
        return list(found.values()), unanswered

    async def _away(self, nodes: list[str], token: str | None, of: Item) -> list[Item]:
        """What is known of the tunnels of nodes that do not answer."""
        leases = [
            lease
            for lease in self._cluster.leases.theirs.values()
            if lease.node in nodes
            and token in (None, lease.token)
            and of.get("name") in (None, lease.name)
            and lease.name > of.get("after", "")
        ]
        leases = sorted(leases, key=lambda lease: lease.name)[: of["most"]]
        owners = await self._store.find_tokens({lease.token for lease in leases})
        names = {key: owner.name for key, owner in owners.items()}
        items = []
        for lease in leases:
            item = away_item(lease, names.get(lease.token, lease.token))
            options = told_of_lease(lease, kinds()) if "name" in of else None
            items.append(item if options is None else {**item, "options": options})
        return items

    async def _close_tunnel(self, call: Call) -> None:
        name, who = call.path["name"], call.who
        lease = self._cluster.leases.held.get(name) or await self._cluster.ask(name)
        node = self._questions.own_id if lease is None else lease.node
        try:
            closed = await self._questions.ask(
                node, "close-tunnel", name=name, token=own(who), who=f"{who.name} ({who.role})"
            )
        except Unanswered as error:
            raise silent(node) from error
        only(closed or None, "tunnel", "/tunnels")

    # -- sessions ------------------------------------------------------------------------------------------

    async def _list_sessions(self, call: Call) -> Item:
        of = {"token": own(call.who), "after": after(call.query), "most": call.query["limit"] + 1}
        answers, unanswered = await self._questions.ask_all("sessions", _sessions, **of)
        items = [item for answer in answers.values() for item in answer]
        return page(items, call.query, lambda item: str(item["id"]), unanswered)

    def _node_of(self, session: str) -> str:
        """The node of a session, by its id. @raise Problem: there is none (404)."""
        node = session.rpartition("-")[0]
        there = node == self._questions.own_id or node in self._questions.others()
        return str(only(node if there else None, "session", "/sessions"))

    async def _ask(self, node: str, question: str, read: Read = as_told, /, **of: Any) -> Any:
        try:
            return await self._questions.ask(node, question, read, **of)
        except Unanswered as error:
            raise silent(node) from error

    async def _get_session(self, call: Call) -> Item:
        key, token = call.path["id"], own(call.who)
        found = await self._ask(self._node_of(key), "sessions", _sessions, id=key, token=token, most=1)
        item: Item = only(found[0] if found else None, "session", "/sessions")
        return item

    async def _end_session(self, call: Call) -> None:
        key, who = call.path["id"], call.who
        ended = await self._ask(
            self._node_of(key), "end-session", id=key, token=own(who), who=f"{who.name} ({who.role})"
        )
        only(ended or None, "session", "/sessions")
