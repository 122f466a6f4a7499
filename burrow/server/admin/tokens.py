"""Operations of the admin API on tokens and names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from burrow.errors import ConfigError
from burrow.server.admin import API_PATH
from burrow.server.admin.api import Call, Handler, only
from burrow.server.admin.describe import Item, name_item, token_item
from burrow.server.admin.paging import page
from burrow.server.admin.problems import Problem, invalid
from burrow.server.admin.tunnels import own
from burrow.server.nodes.asking import Questions, Unanswered
from burrow.server.nodes.cluster import Cluster
from burrow.server.twins import also, with_twin
from burrow.store.base import IStore, Reservation, Taken, Token
from burrow.store.tokens import make_token


class TokensAndNames:
    """
    @param doubt: called with the id of a token that was changed or revoked.
    """

    def __init__(
        self,
        store: IStore,
        cluster: Cluster,
        questions: Questions,
        doubt: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._questions = questions
        self._doubt = doubt
        self._now = now

    @property
    def handlers(self) -> dict[str, Handler]:
        """See L{Api<burrow.server.admin.api.Api>}."""
        return {
            "list_tokens": self._list_tokens,
            "create_token": self._create_token,
            "get_token": self._get_token,
            "change_token": self._change_token,
            "revoke_token": self._revoke_token,
            "list_names": self._list_names,
            "get_name": self._get_name,
            "release_name": self._release_name,
            "transfer_name": self._transfer_name,
        }

    # -- tokens --------------------------------------------------------------------------------------------

    async def _owned(self) -> Counter[str]:
        """How many names each token owns, by the token's id."""
        return Counter(known.token for known in await self._store.reservations())

    async def _list_tokens(self, call: Call) -> Item:
        owned = await self._owned()
        items = [token_item(token, owned[token.id]) for token in await self._store.tokens()]
        return page(items, call.query, lambda item: str(item["name"]))

    async def _token(self, call: Call) -> Token:
        token: Token = only(await self._store.token(call.path["id"]), "token", "/tokens")
        call.notes["target"] = token.name
        return token

    async def _get_token(self, call: Call) -> Item:
        token = await self._token(call)
        return token_item(token, (await self._owned())[token.id])

    async def _create_token(self, call: Call) -> Item:
        given = dict(call.body)
        name, role = given.pop("name"), given.pop("role", "agent")
        call.notes["target"] = name
        try:
            text, token = make_token(name, role, self._now(), **given)
        except ConfigError as error:
            raise invalid("name", f"{error}.") from error
        try:
            await self._store.add_token(token)
        except Taken as error:
            raise Problem(409, f"There is a token named {name!r} already: choose another name.") from error
        call.request.setHeader("Location", f"{API_PATH}/tokens/{token.id}")
        return {**token_item(token, 0), "secret": text}

    async def _change_token(self, call: Call) -> Item:
        token = await self._token(call)
        changed = await self._store.change_token(token.name, call.body)
        self._doubt(token.id)
        changed = only(changed, "token", "/tokens")
        call.notes["result"] = ", ".join(f"{field}={value}" for field, value in call.body.items())
        return token_item(changed, (await self._owned())[token.id])

    async def _revoke_token(self, call: Call) -> None:
        token = await self._token(call)
        revoked = await self._store.revoke_token(token.name)
        self._doubt(token.id)
        only(revoked or None, "token", "/tokens")

    # -- names ---------------------------------------------------------------------------------------------

    def _is_open(self, name: str) -> bool:
        return name in self._cluster.leases.held or self._cluster.elsewhere(name) is not None

    async def _items(self, names: list[Reservation]) -> list[Item]:
        owners = await self._store.find_tokens({known.token for known in names})
        return [
            name_item(
                known,
                owners[known.token].name if known.token in owners else known.token,
                self._is_open(known.name),
            )
            for known in names
        ]

    async def _list_names(self, call: Call) -> Item:
        token = own(call.who)
        names = [known for known in await self._store.reservations() if token in (None, known.token)]
        listed = page([{"name": known.name} for known in names], call.query, lambda item: str(item["name"]))
        wanted = {item["name"] for item in listed["items"]}
        return {**listed, "items": await self._items([known for known in names if known.name in wanted])}

    async def _name(self, call: Call) -> Reservation:
        known: Reservation | None = await self._store.reservation(call.path["name"])
        visible = known is not None and own(call.who) in (None, known.token)
        found: Reservation = only(known if visible else None, "name", "/names")
        return found

    async def _get_name(self, call: Call) -> Item:
        return (await self._items([await self._name(call)]))[0]

    async def _to_change(self, call: Call) -> tuple[Reservation, list[str]]:
        """
        The name, and those of it and its twin whose tunnels are open. @raise Problem: there is none (404), or
            a tunnel is open and is not to be closed (409).
        """
        known = await self._name(call)
        opened = [one.name for one in await with_twin(self._store, known) if self._is_open(one.name)]
        if opened and not call.query["force"]:
            names = " and ".join(opened)
            raise Problem(409, f"The tunnel {names} is open: close it first, or add ?force=true.")
        return known, opened

    async def _transfer_name(self, call: Call) -> Item:
        owner = call.body["owner"]
        token = next((token for token in await self._store.tokens() if token.name == owner), None)
        if token is None:
            raise invalid("owner", f"There is no token named {owner!r}: `GET {API_PATH}/tokens` lists them.")
        call.notes["result"] = f"to {owner}"
        known = await self._name(call)
        if known.token != token.id:
            known, opened = await self._to_change(call)
            before = known.token
            # It may have got another owner since it was looked up.
            moved = await self._store.transfer(known.name, token.id, before)
            known = only(moved[0] if moved else None, "name", "/names")
            call.notes["result"] = f"to {owner}{also(known.name, [one.name for one in moved])}"
            for name in opened:
                await self._close(name, call.who.name, before)
        return (await self._items([known]))[0]

    async def _release_name(self, call: Call) -> None:
        known, opened = await self._to_change(call)
        # It may have got another owner since it was looked up.
        gone = await self._store.release(known.name, known.token)
        only(gone or None, "name", "/names")
        if len(gone) > 1:
            call.notes["result"] = also(known.name, gone).strip(", ")
        for name in opened:
            await self._close(name, call.who.name, known.token)

    async def _close(self, name: str, who: str, token: str) -> None:
        """Close its tunnel now; if its node does not answer, that closes it when it hears of the change."""
        lease = self._cluster.elsewhere(name)
        of: dict[str, Any] = {"name": name, "who": who, "token": token}
        try:
            node = self._questions.own_id if lease is None else lease.node
            await self._questions.ask(node, "close-tunnel", **of)
        except Unanswered:
            return
