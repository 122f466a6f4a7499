"""The page to read the admin API's document at: made from it, without a script or anything from outside."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from burrow.server.admin import API_PATH
from burrow.server.admin.openapi import document, statuses
from burrow.server.admin.paths import OPERATIONS, Operation
from burrow.server.admin.schemas import Schema

_TEMPLATE = (files(__package__) / "reading.html").read_text(encoding="utf-8")
_STYLE = _TEMPLATE.partition("<style>")[2].partition("</style>")[0]
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style, and nothing else."""


def _kind(schema: Schema) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"] if one is not None)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if schema.get("format") == "date-time":
        kinds = ["time" if kind == "string" else kind for kind in kinds]
    return " or ".join(kinds)


def _marked(text: str) -> str:
    """A sentence with what stands in backquotes as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _rows(properties: Schema, required: list[str]) -> str:
    return "".join(
        f"<tr><td><code>{escape(name)}</code>{'' if name in required else ' <small>optional</small>'}</td>"
        f"<td>{_kind(schema)}</td><td>{_marked(schema.get('description', ''))}</td></tr>"
        for name, schema in properties.items()
    )


def _operation(operation: Operation) -> str:
    role = f"role {operation.role}" if operation.role else "no token"
    path = escape(operation.path)
    parts = [
        f'<section class="operation" id="{operation.name}"><h3><span class="{operation.method.lower()}">'
        f"{operation.method}</span> <code>{path}</code> <small>{role}</small></h3>",
        f"<p>{_marked(operation.summary)}</p>",
        f"<p>{_marked(operation.description)}</p>" if operation.description else "",
    ]
    if operation.query:
        parts.append(f"<table><caption>Query</caption>{_rows(operation.query, [])}</table>")
    if operation.body:
        parts.append(f'<p>Body: <a href="#{operation.body}">{operation.body}</a>, as JSON.</p>')
    answer = f' <a href="#{operation.answer}">{operation.answer}</a>' if operation.answer else ""
    errors = ", ".join(str(status) for status in statuses(operation))
    parts.append(f"<p>Answers {operation.status}{answer}; errors {errors}.</p></section>")
    return "".join(parts)


def _schema(name: str, schema: Schema) -> str:
    about = schema.get("description", "")
    rows = _rows(schema["properties"], schema.get("required", []))
    return (
        f'<section class="schema" id="{name}"><h3>{name}</h3>{f"<p>{_marked(about)}</p>" if about else ""}'
        f"<table>{rows}</table></section>"
    )


@lru_cache(maxsize=1)
def page() -> bytes:
    """The page."""
    whole = document()
    info: dict[str, Any] = whole["info"]
    groups: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        groups.setdefault(operation.parts[0], []).append(operation)
    contents = "".join(
        f'<li><a href="#{operations[0].name}">{escape(group)}</a></li>'
        for group, operations in groups.items()
    )
    values = {
        "title": escape(info["title"]),
        "version": escape(info["version"]),
        "about": _marked(info["description"]),
        "base": escape(API_PATH),
        "contents": contents,
        "operations": "".join(_operation(operation) for operation in OPERATIONS),
        "schemas": "".join(_schema(name, schema) for name, schema in whole["components"]["schemas"].items()),
        "errors": "".join(
            f"<tr><td><code>{status}</code></td><td>{_marked(response['description'])}</td></tr>"
            for status, response in whole["components"]["responses"].items()
        ),
    }
    return Template(_TEMPLATE).substitute(values).encode()
