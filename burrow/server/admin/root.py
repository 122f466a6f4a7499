"""What the server itself serves by twisted.web: the admin API, and beside it the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import IResource, Resource

from burrow.server.admin import API_PATH


def is_api(path: str) -> bool:
    """Whether a path is the admin API's."""
    return path == API_PATH or path.startswith(API_PATH + "/")


class Root(Resource):
    """
    @param api: the admin API.
    @ivar rest: everything else, with the whole path still before it. By default it is nothing.
    @ivar others: single pages, by their whole path.
    @ivar claims: returns whether a path is C{rest}'s.
    """

    def __init__(self, api: IResource) -> None:
        super().__init__()
        self.rest: IResource | None = None
        self.claims: Callable[[str], bool] = lambda path: False
        self.others: dict[str, IResource] = {}
        self._api = api

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        """See L{Resource}."""
        other = self.others.get(request.path.decode("latin-1"))
        if other is not None:
            return other
        if self.rest is None or is_api(request.path.decode("latin-1")):
            return self._api
        request.postpath.insert(0, request.prepath.pop())
        return self.rest
