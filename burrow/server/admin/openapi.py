"""The OpenAPI 3.1 document of the admin API, made from L{burrow.server.admin.paths}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from burrow import __version__
from burrow.protocols.base import Kind
from burrow.protocols.options import Side
from burrow.protocols.registry import kinds
from burrow.server.admin import API_PATH, problems
from burrow.server.admin.paths import EVENTS, HTML, JSON, OPERATIONS, Operation
from burrow.server.admin.schemas import SCHEMAS, Schema, ref

_WHY: dict[int, str] = {
    400: "The request is not well formed.",
    401: "There is no token, or it is unknown or revoked.",
    403: "The token's role may not do this: `needed` says which may.",
    404: "There is no such thing, or none that this token may see.",
    406: "None of the media types of Accept can be answered.",
    409: "It is in use, or the other way round; `detail` says what to do.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not JSON.",
    421: "The host that is asked for is not this server's.",
    422: "A value is not possible; `field` says which.",
    429: "Too many wrong tokens came from this address, or it has too many live answers.",
    500: "The server failed; its log says how.",
    503: "The store does not answer, or the server stops: try again.",
    504: "The node that has it does not answer: try again.",
}


def statuses(operation: Operation) -> list[int]:
    """The statuses of the errors that an operation may answer."""
    found = {400, 406, 413, 421, 500, 503, *operation.errors}
    if operation.role:
        found |= {401, 403, 429}
    if operation.body:
        found |= {413, 415, 422}
    if operation.query:
        found.add(422)
    return sorted(found)


def _content(operation: Operation) -> Schema:
    content: Schema = {}
    for media in operation.media:
        if media == JSON:
            content[media] = {"schema": ref(operation.answer) if operation.answer else {"type": "object"}}
        elif media in (EVENTS, HTML):
            content[media] = {"schema": {"type": "string"}}
    return content


def _operation(operation: Operation) -> Schema:
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    for name, schema in operation.query.items():
        kept = {key: value for key, value in schema.items() if key != "description"}
        parameters.append({"name": name, "in": "query", "description": schema["description"], "schema": kept})
    if EVENTS in operation.media and operation.name == "list_events":
        parameters.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}})
    answer: Schema = {"description": HTTPStatus(operation.status).phrase}
    if operation.status != 204:
        answer["content"] = _content(operation)
    if operation.status == 201:
        answer["headers"] = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}
    found: Schema = {
        "operationId": operation.name,
        "tags": [operation.parts[0]],
        "summary": operation.summary,
        "description": (operation.description + " " if operation.description else "")
        + (f"Role: {operation.role}, or more." if operation.role else "Needs no token."),
        "x-role": operation.role or "none",
        "responses": {
            str(operation.status): answer,
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses(operation)},
        },
    }
    if not operation.role:
        found["security"] = []
        found["responses"]["304"] = {"description": "It is what If-None-Match says."}
    if parameters:
        found["parameters"] = parameters
    if operation.body:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": ref(operation.body)}}}
    return found


def _options_name(kind: str) -> str:
    """What the schema of a kind's options is called."""
    return f"{kind.capitalize()}Options"


def _options(kind: Kind) -> Schema:
    """The schema of a kind's options."""
    found: Schema = {}
    for each in kind.options:
        schema = each.told_schema()
        if each.side is Side.AGENT:
            schema["description"] += "; the agent alone knows it, so it is in no answer"
        found[each.key] = {**schema, "x-side": each.side.value}
    return {
        "description": f"The options of tunnels of kind {kind.name}: {kind.summary}. Each is a flag of "
        f"`burrow {kind.name}` and a key of a tunnel in the agent's file.",
        "type": "object",
        "properties": found,
        "additionalProperties": False,
    }


def _schemas(known: Mapping[str, Kind]) -> Schema:
    """L{SCHEMAS}, with the options of these kinds."""
    of_kinds = [
        {
            "if": {"properties": {"kind": {"const": name}}},
            "then": {"properties": {"options": ref(_options_name(name))}},
        }
        for name in sorted(known)
    ]
    return {
        **SCHEMAS,
        "Tunnel": {**SCHEMAS["Tunnel"], "allOf": of_kinds},
        **{_options_name(name): _options(kind) for name, kind in sorted(known.items())},
    }


def document(known: Mapping[str, Kind] | None = None) -> Schema:
    """The document. @param known: the kinds of tunnels by name; by default all that are installed."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Burrow admin API",
            "version": __version__,
            "summary": "What a Burrow server holds: tunnels, sessions, names, tokens, nodes, certificates.",
            "description": "The answers are about the whole server, whichever of its nodes is asked. Times "
            "are ISO 8601 in UTC. Objects may get further members in later releases; none is taken away "
            "within v1. HEAD answers as GET does, without the body; OPTIONS tells the methods of a path.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": API_PATH}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(kinds() if known is None else known),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `burrow token create NAME --role agent|viewer|admin`.",
                }
            },
            "responses": {
                str(status): {
                    "description": why,
                    "content": {problems.MEDIA_TYPE: {"schema": ref("Problem")}},
                }
                for status, why in _WHY.items()
            },
        },
    }


@lru_cache(maxsize=1)
def rendered() -> bytes:
    """The document's bytes."""
    return json.dumps(document(), indent=1).encode()
