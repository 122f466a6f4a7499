"""The schemas of the admin API's resources (JSON Schema 2020-12, as OpenAPI 3.1 has them)."""

from __future__ import annotations

from typing import Any

from burrow.store.base import ROLES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
WHEN: Schema = {"type": "string", "format": "date-time", "pattern": "Z$"}
SECONDS: Schema = {"type": "number", "minimum": 0}
YES: Schema = {"type": "boolean"}
LIMIT: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 999_999_999}
TOKEN_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$"}
ROLE: Schema = {"type": "string", "enum": list(ROLES)}


def or_null(schema: Schema, description: str = "") -> Schema:
    """The schema, or null."""
    found = {**schema, "type": [schema["type"], "null"]}
    return {**found, "description": description} if description else found


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _object(properties: Schema, optional: tuple[str, ...] = (), description: str = "") -> Schema:
    found: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
    return {"description": description, **found} if description else found


def ref(name: str) -> Schema:
    """A reference to one of L{SCHEMAS}."""
    return {"$ref": f"#/components/schemas/{name}"}


_LIMITS: Schema = {
    "max_names": _said(LIMIT, "names that it may own; null: the server's --token-names"),
    "max_ports": _said(LIMIT, "public ports that it may own; null: --token-ports"),
    "max_tunnels": _said(LIMIT, "tunnels that it may have open; null: --token-tunnels"),
    "max_sessions": _said(LIMIT, "agents that may be connected with it; null: --token-sessions"),
}

_TOKEN: Schema = {
    "id": _said(TEXT, "the public half of the token"),
    "name": TOKEN_NAME,
    "role": ROLE,
    "created": WHEN,
    "last_used": or_null(WHEN),
    "names": _said(COUNT, "names that it owns"),
    **_LIMITS,
}

_TUNNEL_STATES = {"type": "string", "enum": ["open", "detached", "away"]}
_STATES_SAY = (
    "open: its agent is connected; detached: its agent lost its connection and is expected back; away: the "
    "node that has it does not answer"
)

SCHEMAS: dict[str, Schema] = {
    "Tunnel": _object(
        {
            "name": TEXT,
            "kind": _said(TEXT, "http, tcp, or another kind's name"),
            "url": or_null(TEXT, "where visitors reach it; null while its node does not answer"),
            "upstream": or_null(TEXT, "what the agent forwards to; null while its node does not answer"),
            "port": or_null(COUNT, "its public port, if it has one"),
            "owner": _said(TEXT, "the name of the token that it was opened with"),
            "agent": or_null(TEXT, "the agent's id"),
            "session": or_null(TEXT, "the id of its session"),
            "address": or_null(TEXT, "the agent's address"),
            "inspector": or_null(COUNT, "the port of the agent's inspector on its machine; null: not known"),
            "node": _said(TEXT, "the id of the node that has it"),
            "state": _said(_TUNNEL_STATES, _STATES_SAY),
            "since": WHEN,
            "visitors": _said(COUNT, "visitors' connections that use it now"),
            "requests": or_null(
                COUNT,
                "requests and connections that came since it opened; null while its node does not answer",
            ),
            "received": or_null(
                COUNT,
                "bytes that visitors sent since it opened, heads included; null as with `requests`",
            ),
            "sent": or_null(COUNT, "bytes that visitors were sent, likewise"),
            "options": {
                "type": "object",
                "description": "of one tunnel, not in lists: the options of its kind that its owner set and "
                "the server knows, as in `HttpOptions`, without secrets. Missing if the node that has it "
                "does not answer, and the one that was asked does not know its kind, or all of its options",
            },
        },
        ("options",),
        description="A public name, or port, that an agent serves now.",
    ),
    "Session": _object(
        {
            "id": TEXT,
            "agent": _said(TEXT, "the agent's id: one a machine and user"),
            "token": _said(TEXT, "the name of its token"),
            "address": TEXT,
            "node": TEXT,
            "state": {"type": "string", "enum": ["open", "detached"]},
            "since": WHEN,
            "tunnels": {"type": "array", "items": TEXT},
            "streams": COUNT,
            "version": _said(TEXT, "the agent's release; empty if it did not say"),
            "round_trip": or_null(SECONDS, "seconds to the agent and back; null: not measured"),
        },
        description="An agent's logical connection, which outlives its WebSockets.",
    ),
    "Name": _object(
        {
            "name": TEXT,
            "kind": _said(TEXT, "of the tunnel that was last opened with it; empty if none was"),
            "owner": _said(TEXT, "the token's name; its id if it was revoked"),
            "reserved": WHEN,
            "last_seen": or_null(WHEN, "when its tunnel was last open; null: not known"),
            "port": or_null(COUNT),
            "upstream": TEXT,
            "open": _said(YES, "whether its tunnel is open now"),
        },
        description="Who owns a name, for ever or until it is released.",
    ),
    "NameChange": _object({"owner": _said(TOKEN_NAME, "the name of the token that is to own it")}),
    "Token": _object(_TOKEN, description="A token, without its secret, which nobody can read again."),
    "NewToken": _object({**_TOKEN, "secret": _said(TEXT, "the whole token, shown this once")}),
    "TokenRequest": _object({"name": TOKEN_NAME, "role": ROLE, **_LIMITS}, ("role", *_LIMITS)),
    "TokenChange": {**_object({"role": ROLE, **_LIMITS}, ("role", *_LIMITS)), "minProperties": 1},
    "Node": _object(
        {
            "id": TEXT,
            "address": _said(TEXT, "host and port where other nodes link to it"),
            "version": TEXT,
            "started": WHEN,
            "tunnels": or_null(COUNT, "open there; null while it does not answer"),
            "sessions": COUNT,
            "visitors": or_null(COUNT, "connections of visitors there; null while it does not answer"),
            "draining": _said(YES, "whether it is about to end, so that agents go to other nodes"),
            "answers": _said(YES, "whether it answered the node that you ask"),
        },
        description="One server process.",
    ),
    "Certificate": _object(
        {
            "host": TEXT,
            "issuer": or_null(TEXT),
            "not_before": or_null(WHEN),
            "not_after": or_null(WHEN),
            "state": {"type": "string", "enum": ["valid", "due", "expired", "failed", "missing"]},
            "error": _said(TEXT, "why its last renewal failed"),
            "next_try": _said(WHEN, "from when on it is renewed"),
        },
        ("error", "next_try"),
    ),
    "Event": _object(
        {
            "id": _said(TEXT, "as in Last-Event-ID"),
            "when": WHEN,
            "node": TEXT,
            "kind": _said(TEXT, "tunnel-open, agent-gone, certificate-failed..."),
            "text": _said(TEXT, "a sentence for people"),
        },
    ),
    "AuditEntry": _object(
        {
            "when": WHEN,
            "who": _said(TEXT, "the token's name, or `command line (USER)`"),
            "action": _said(TEXT, "token.create, tunnel.close..."),
            "target": _said(TEXT, "the name or id of what was changed"),
            "address": _said(TEXT, "from where: an address, or `local`"),
            "result": _said(TEXT, "ok, or why it failed"),
        },
        description="One change, whoever made it, by the API or by a command on the server.",
    ),
    "Request": _object(
        {
            "id": _said(TEXT, "NODE-NUMBER, of the node that the visitor reached"),
            "protocol": _said(TEXT, "http, websocket, upgraded, tcp, or another kind's name"),
            "tunnel": TEXT,
            "visitor": _said(TEXT, "the visitor's address"),
            "scheme": TEXT,
            "method": _said(TEXT, "empty for what is not HTTP"),
            "target": _said(TEXT, "path and query"),
            "host": TEXT,
            "request_id": _said(TEXT, "the value of X-Request-Id"),
            "status": or_null(COUNT, "of the answer; null before it came, and for what is not HTTP"),
            "reason": TEXT,
            "received": _said(COUNT, "bytes from the visitor"),
            "sent": _said(COUNT, "bytes to the visitor"),
            "began": WHEN,
            "waited": or_null(SECONDS, "seconds until it had a stream to the agent"),
            "first_byte": or_null(SECONDS, "seconds until the answer's head"),
            "took": or_null(SECONDS, "seconds until it was over; null while it runs"),
            "error": _said(TEXT, "why it ended without a whole answer; empty if it did not"),
        },
        description="A visitor's request and its answer, or connection, without headers and bodies.",
    ),
    "Whoami": _object(
        {
            "id": TEXT,
            "name": TEXT,
            "role": ROLE,
            "node": _said(TEXT, "the node that you ask"),
            "version": _said(TEXT, "its release"),
            "domain": _said(TEXT, "the base domain"),
        }
    ),
    "Problem": {
        "description": "An error (RFC 9457). `detail` is a sentence that says what to do.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "field": _said(TEXT, "with 422: the field of the body, or the parameter of the query"),
            "needed": _said(ROLE, "with 403: the least role that may do this"),
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
    },
}


def listing(name: str) -> Schema:
    """A page of a list of one of L{SCHEMAS}."""
    return _object(
        {
            "items": {"type": "array", "items": ref(name)},
            "next": _said(TEXT, "where there is more: the value of `cursor` for the next page"),
            "unanswered": {
                "type": "array",
                "items": TEXT,
                "description": "the ids of nodes that did not answer in time: what only they know is missing",
            },
        },
        ("next", "unanswered"),
    )


for _name in ("Tunnel", "Session", "Name", "Token", "Node", "Certificate", "Event", "AuditEntry", "Request"):
    SCHEMAS[f"{_name}List"] = listing(_name)


def as_documented(kind: str, told: Any) -> dict[str, Any]:
    """
    What another node told, as the document says it. Its release may be another: what that does not know is
    null, and what this one does not know is left out.

    @param kind: a name in L{SCHEMAS}.
    @raise LookupError: something is missing that cannot be null. @raise TypeError: it is no object.
    """
    told, schema = {**told}, SCHEMAS[kind]
    found = {name: told[name] for name in schema["properties"] if name in told}
    for name in schema["required"]:
        if name not in found:
            if "null" not in schema["properties"][name].get("type", ()):
                raise LookupError(f"a {kind} without {name}")
            found[name] = None
    return found
