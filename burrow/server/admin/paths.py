"""
The paths of the admin API, as data: the router, the OpenAPI document and the tests follow from this table.

A path's parts in braces are parameters. Of each operation the table has the least role that may call it; what
an agent's token may see and change within that is the matter of the operation (its own things alone).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from burrow.server.admin.schemas import Schema

LIMIT, MOST = 100, 1000
"""Items on a page: by default, and at most."""

JSON, EVENTS, HTML = "application/json", "text/event-stream", "text/html"


@dataclass(frozen=True)
class Operation:
    """
    One method of one path.

    @ivar name: what the router calls, and the document's operationId.
    @ivar role: the least role: "agent", "viewer" or "admin"; empty: it needs no token.
    @ivar answer: the name of the schema of its answer; empty: none (204), or not JSON.
    @ivar status: of its answer when it succeeds. @ivar body: the name of the schema of the request's body.
    @ivar query: the schemas of the query's parameters. @ivar errors: statuses beside the usual ones.
    @ivar media: the media types that it can answer, the first by default.
    """

    method: str
    path: str
    name: str
    role: str
    summary: str
    answer: str = ""
    status: int = 200
    body: str = ""
    query: dict[str, Schema] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    media: tuple[str, ...] = (JSON,)
    description: str = ""

    @property
    def parts(self) -> list[str]:
        """The parts of its path."""
        return self.path.strip("/").split("/")


_FORCE: Schema = {
    "type": "boolean",
    "default": False,
    "description": "also while its tunnel is open, which is closed then",
}
_FOLLOW: Schema = {
    "type": "boolean",
    "default": False,
    "description": "answer what comes from now on, as server-sent events; the same as `Accept: "
    "text/event-stream`",
}
_PAGE: dict[str, Schema] = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": MOST,
        "default": LIMIT,
        "description": "items on a page, at most",
    },
    "cursor": {"type": "string", "description": "`next` of the page before"},
}
_TUNNEL: Schema = {"type": "string", "description": "of this tunnel alone"}
_OWN = " With a token of the role agent: its own alone."
_LIVE = (
    " Live, each event's `data` is one of the objects. Lines that begin with a colon come while nothing "
    "happens. `event: gap` tells in `dropped` how many were left out, since the reader was too slow; "
    "`event: end` tells in `detail` why the server ends the stream, such as that the token was revoked."
)


def _list(path: str, name: str, role: str, summary: str, schema: str, **more: Any) -> Operation:
    query = {**more.pop("query", {}), **_PAGE}
    return Operation("GET", path, name, role, summary, f"{schema}List", query=query, **more)


OPERATIONS = (
    Operation("GET", "/openapi.json", "get_openapi", "", "This document."),
    Operation("GET", "/docs", "get_docs", "", "This document as a page to read.", media=(HTML,)),
    Operation("GET", "/whoami", "get_whoami", "agent", "Whose token this is, and what it may do.", "Whoami"),
    _list("/tunnels", "list_tunnels", "agent", "The tunnels that are open, by name." + _OWN, "Tunnel"),
    Operation("GET", "/tunnels/{name}", "get_tunnel", "agent", "One tunnel." + _OWN, "Tunnel", errors=(404,)),
    Operation(
        "DELETE",
        "/tunnels/{name}",
        "close_tunnel",
        "agent",
        "Close a tunnel." + _OWN,
        status=204,
        errors=(404, 504),
        description="Its agent is told, and does not open it again by itself. The name stays its owner's. "
        "What runs through it goes on to its end.",
    ),
    _list("/sessions", "list_sessions", "agent", "The agents' sessions, by id." + _OWN, "Session"),
    Operation(
        "GET", "/sessions/{id}", "get_session", "agent", "One session." + _OWN, "Session", errors=(404, 504)
    ),
    Operation(
        "DELETE",
        "/sessions/{id}",
        "end_session",
        "agent",
        "End a session." + _OWN,
        status=204,
        errors=(404, 504),
        description="What runs through it is cut. Its agent connects again, with a new session, unless its "
        "token was revoked.",
    ),
    _list("/names", "list_names", "agent", "The names that are owned, by name." + _OWN, "Name"),
    Operation("GET", "/names/{name}", "get_name", "agent", "One name." + _OWN, "Name", errors=(404,)),
    Operation(
        "DELETE",
        "/names/{name}",
        "release_name",
        "agent",
        "Give a name and its port back: whoever asks first may have it." + _OWN,
        status=204,
        query={"force": _FORCE},
        errors=(404, 409),
        description="A name and the wildcard name under it, as blog and *.blog, are released together.",
    ),
    Operation(
        "PATCH",
        "/names/{name}",
        "transfer_name",
        "admin",
        "Give a name and its port to another token.",
        "Name",
        body="NameChange",
        query={"force": _FORCE},
        errors=(404, 409),
        description="A name and the wildcard name under it, as blog and *.blog, are transferred together.",
    ),
    _list("/tokens", "list_tokens", "viewer", "The tokens, by name.", "Token"),
    Operation(
        "POST",
        "/tokens",
        "create_token",
        "admin",
        "Make a token. Its secret is in this answer alone.",
        "NewToken",
        201,
        body="TokenRequest",
        errors=(409,),
    ),
    Operation("GET", "/tokens/{id}", "get_token", "viewer", "One token.", "Token", errors=(404,)),
    Operation(
        "PATCH",
        "/tokens/{id}",
        "change_token",
        "admin",
        "Change a token's role or limits.",
        "Token",
        body="TokenChange",
        errors=(404,),
    ),
    Operation(
        "DELETE",
        "/tokens/{id}",
        "revoke_token",
        "admin",
        "Revoke a token: its sessions end, and its names stay reserved.",
        status=204,
        errors=(404,),
    ),
    _list("/nodes", "list_nodes", "viewer", "The server's processes, on all machines, by id.", "Node"),
    Operation("GET", "/nodes/{id}", "get_node", "viewer", "One of them.", "Node", errors=(404,)),
    Operation(
        "POST",
        "/nodes/{id}/drain",
        "drain_node",
        "admin",
        "Send a node's agents and visitors to the others, so that it can be stopped.",
        "Node",
        202,
        errors=(404, 409, 504),
        description="The node takes no more connections. It stays until it is stopped; there is no way back.",
    ),
    _list("/certificates", "list_certificates", "viewer", "The certificates, by host.", "Certificate"),
    Operation(
        "GET",
        "/certificates/{host}",
        "get_certificate",
        "viewer",
        "One certificate.",
        "Certificate",
        errors=(404,),
    ),
    _list(
        "/events",
        "list_events",
        "viewer",
        "What happened in the last day, the newest first; or live.",
        "Event",
        query={"follow": _FOLLOW},
        media=(JSON, EVENTS),
        description="With `Last-Event-ID`, a live answer begins with what happened since." + _LIVE,
    ),
    _list("/audit", "list_audit", "viewer", "Who changed what, the newest first, for 90 days.", "AuditEntry"),
    _list(
        "/requests",
        "list_requests",
        "agent",
        "Visitors' requests and connections, the newest first; or live." + _OWN,
        "Request",
        query={"tunnel": _TUNNEL, "follow": _FOLLOW},
        errors=(404,),
        media=(JSON, EVENTS),
        description="The server keeps them from when somebody first asks until ten minutes after somebody "
        "last did." + _LIVE + " A request that runs is told again when it is over, by the same id.",
    ),
)
"""Every operation there is."""
