"""Checks a request's body and query by the schemas of L{burrow.server.admin.schemas}."""

from __future__ import annotations

import json
import re
from typing import Any

from burrow.server.admin.problems import Problem, invalid
from burrow.server.admin.schemas import Schema

LONGEST = 1000
"""Characters of a text in a path, a query or a body, at most."""

_TYPES: dict[str, Any] = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
_WORDS = {"string": "a text", "integer": "a whole number", "boolean": "true or false", "null": "null"}


def check_body(schema: Schema, data: bytes) -> dict[str, Any]:
    """
    The object in a request's body. @raise Problem: it is no JSON (400), or not what C{schema} says (422).
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"The body is no JSON: {str(error)[:200]}.") from error
    if not isinstance(found, dict):
        raise invalid("", "The body has to be a JSON object.")
    known: dict[str, Schema] = schema["properties"]
    for name in schema["required"]:
        if name not in found:
            raise invalid(name, f"The body lacks `{name}`.")
    for name, value in found.items():
        if name not in known:
            shown = name[:80]
            raise invalid(shown, f"There is no `{shown}` here: there are {', '.join(known)}.")
        check_value(name, value, known[name])
    if len(found) < schema.get("minProperties", 0):
        raise invalid("", f"Nothing to change: give one of {', '.join(known)}.")
    return found


def check_query(schemas: dict[str, Schema], arguments: dict[str, list[str]]) -> dict[str, Any]:
    """
    The parameters of a query, with the defaults. @raise Problem: one is not possible (422).
    """
    found = {name: schema.get("default") for name, schema in schemas.items()}
    for name, values in arguments.items():
        text = values[-1]
        if name not in schemas:
            there_are = f": there are {', '.join(schemas)}" if schemas else ""
            raise invalid(name[:80], f"There is no parameter `{name[:80]}` here{there_are}.")
        value: Any = text
        if schemas[name]["type"] == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text):
            value = int(text)
        elif schemas[name]["type"] == "boolean":
            value = {"true": True, "1": True, "": True, "false": False, "0": False}.get(text.lower(), text)
        check_value(name, value, schemas[name])
        found[name] = value
    return found


def check_value(name: str, value: Any, schema: Schema) -> None:
    """@raise Problem: a value is not what its schema allows (422)."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(
        isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        for kind in types
    ):
        raise invalid(name, f"`{name}` has to be {' or '.join(_WORDS[kind] for kind in types)}.")
    if isinstance(value, str) and len(value) > LONGEST:
        raise invalid(name, f"`{name}` has more than {LONGEST} characters.")
    if "enum" in schema and value not in schema["enum"]:
        raise invalid(name, f"`{name}` has to be one of {', '.join(schema['enum'])}.")
    if isinstance(value, str) and not re.fullmatch(schema.get("pattern", ".*").strip("^$"), value, re.DOTALL):
        raise invalid(name, f"`{name}` is not possible: use up to 63 letters, digits and . _ @ -")
    if isinstance(value, int) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            raise invalid(name, f"`{name}` has to be {low} to {high}.")
