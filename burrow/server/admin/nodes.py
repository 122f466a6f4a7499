"""Operations of the admin API on nodes."""

from __future__ import annotations

from burrow.server.admin.api import Call, Handler, only
from burrow.server.admin.describe import Item, node_item
from burrow.server.admin.paging import page
from burrow.server.admin.problems import Problem
from burrow.server.admin.tunnels import silent
from burrow.server.nodes.asking import Questions, Unanswered
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.records import Node


class Nodes:
    """See the module's docstring."""

    def __init__(self, questions: Questions, cluster: Cluster) -> None:
        self._questions = questions
        self._cluster = cluster

    @property
    def handlers(self) -> dict[str, Handler]:
        """See L{Api<burrow.server.admin.api.Api>}."""
        return {"list_nodes": self._list, "get_node": self._get, "drain_node": self._drain}

    def _all(self) -> dict[str, Node]:
        ours = self._cluster.node
        return {**({} if ours is None else {ours.id: ours}), **self._cluster.others}

    async def _list(self, call: Call) -> Item:
        answers, unanswered = await self._questions.ask_all("node", dict)
        items = [node_item(node, answers.get(key)) for key, node in self._all().items()]
        return page(items, call.query, lambda item: str(item["id"]), unanswered)

    async def _get(self, call: Call) -> Item:
        return await self._item(self._node(call))

    def _node(self, call: Call) -> Node:
        found: Node = only(self._all().get(call.path["id"]), "node", "/nodes")
        return found

    async def _item(self, node: Node) -> Item:
        try:
            return node_item(node, await self._questions.ask(node.id, "node", dict))
        except Unanswered:
            return node_item(node, None)

    async def _drain(self, call: Call) -> Item:
        node = self._node(call)
        others = [one for one in self._all().values() if one.id != node.id and not one.draining]
        if not others:
            raise Problem(
                409,
                "There is no other node that agents and visitors could go to: start one first, or stop this "
                "one.",
            )
        try:
            await self._questions.ask(node.id, "drain")
        except Unanswered as error:
            raise silent(node.id) from error
        return {**await self._item(node), "draining": True}
