"""C{burrow requests} and C{burrow replay}: clients of an agent's inspector on this machine."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from burrow.addresses import parse_port
from burrow.cli.inspector import Client, choose
from burrow.cli.parsing import typed
from burrow.cli.run import complain, say
from burrow.cli.table import show_table
from burrow.client.config import parse_local
from burrow.errors import ConfigError
from burrow.shown import escaped
from burrow.traffic.filter import Filter
from burrow.values import parse_count

_WIDEST_PATH = 60
"""Characters of a path in the table, at most."""


def add_requests(commands: Any) -> None:
    """C{burrow requests}."""
    parser = commands.add_parser(
        "requests",
        help="show the requests that came through this machine's tunnels",
        description="Show the requests that the inspector of a running agent keeps, the newest last. A "
        "filter is words such as status:5xx, method:POST, path:/hook, time:>1s, or any text; -word means the "
        "opposite.",
    )
    parser.add_argument("filter", nargs="*", metavar="FILTER", help="which of them (default: all)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those that come")
    parser.add_argument(
        "--limit", type=typed(parse_count), default=20, metavar="N", help="how many (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")
    _which(parser)
    parser.set_defaults(run=requests)


def add_replay(commands: Any) -> None:
    """C{burrow replay}."""
    parser = commands.add_parser(
        "replay",
        help="send a request that came through a tunnel again",
        description="Send a request again, from the agent to its upstream, as it was or changed. The "
        "answer's body goes to standard output.",
    )
    parser.add_argument("id", metavar="ID", type=typed(parse_count), help="which: see `burrow requests`")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=typed(parse_port), help="send it to this port of this machine instead")
    where.add_argument("--upstream", help="send it there instead: PORT, HOST:PORT, a URL or unix:/PATH")
    parser.add_argument("--method", help="with another method")
    parser.add_argument("--path", help="with another path and query")
    parser.add_argument(
        "--header",
        action="append",
        metavar="NAME:VALUE",
        help="with this header field in the place of those of its name; NAME: alone leaves them out",
    )
    parser.add_argument("--data", help="with this body; @FILE for a file's content, @- for standard input's")
    parser.add_argument("--json", action="store_true", help="print all of the replay as one JSON object")
    _which(parser)
    parser.set_defaults(run=replay)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inspect",
        type=typed(parse_local),
        metavar="ADDRESS",
        help="the inspector's address, where more than one agent runs, as in 4041",
    )


# -- burrow requests ----------------------------------------------------------------------------------------


def requests(arguments: argparse.Namespace) -> int:
    """C{burrow requests [FILTER...]}."""
    text = " ".join(arguments.filter)
    try:
        wanted = Filter(text)
    except ValueError as error:
        raise ConfigError(f"the filter is not possible: {error}") from error
    client = choose(arguments.inspect)
    path = f"/api/requests?limit={min(arguments.limit, 1000)}&filter={quote(text)}"
    found, headers = client.ask("GET", path)
    found.reverse()
    if not arguments.follow:
        _show(found, as_json=arguments.json)
        return 0
    for each in found:
        _show_one(each, as_json=arguments.json)
    for kind, data in client.follow(headers.get("Burrow-Last-Event", "0")):
        if kind == "reset":
            complain("more came than could be shown: some are left out")
        elif kind == "ended" and wanted.matches(_subject(data)):
            _show_one(data, as_json=arguments.json)
    return 0


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            say(json.dumps(each))
        return
    if not found:
        complain("no requests are kept that are asked for")
        return
    show_table([("ID", "TIME", "TUNNEL", "METHOD", "PATH", "STATUS", "TOOK", "SIZE"), *map(_row, found)])


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    path = one["path"]
    if len(path) > _WIDEST_PATH:
        path = path[: _WIDEST_PATH - 3] + "..."
    method = one["method"] or one["protocol"]
    took = "" if one["took"] is None else _seconds(one["took"])
    replayed = f" (replay of {one['replay_of']})" if one["replay_of"] else ""
    when, size = one["began"][11:19], _size(one["sent"])
    return one["id"], when, one["tunnel"], method, path + replayed, _status(one), took, size


def _status(one: dict[str, Any]) -> str:
    if one["error"]:
        return f"{one['status'] or ''} failed".strip()
    return str(one["status"] or ("" if one["state"] == "ended" else "open"))


def _show_one(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(one))
        return
    id, when, tunnel, method, path, status, took, size = _row(one)
    say(escaped(f"{id:>5} {when} {tunnel} {method:<6} {path} {status} {took} {size}"))


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _size(size: int) -> str:
    number = float(size)
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _subject(one: dict[str, Any]) -> Any:
    """What a filter looks at."""
    return SimpleNamespace(**{**one, "target": one["path"], "age": one["took"] or 0.0})


# -- burrow replay ------------------------------------------------------------------------------------------


def replay(arguments: argparse.Namespace) -> int:
    """C{burrow replay ID}."""
    changes = {
        key: getattr(arguments, key)
        for key in ("port", "upstream", "method", "path")
        if getattr(arguments, key) is not None
    }
    if arguments.header:
        changes["headers"] = _headers(arguments.header)
    if arguments.data is not None:
        changes["body_base64"] = base64.b64encode(_data(arguments.data)).decode()
    client = choose(arguments.inspect)
    again, _ = client.ask("POST", f"/api/requests/{arguments.id}/replay", changes)
    if arguments.json:
        say(json.dumps(again))
    else:
        _show_answer(client, again)
    return 1 if again.get("error") else 0


def _headers(given: list[str]) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header {each!r} is not possible: write NAME:VALUE, or NAME: for none")
        name, value = name.strip(), value.strip()
        if value:
            headers[name] = [*(headers.get(name) or []), value]
        else:
            headers.setdefault(name, None)
    return headers


def _data(given: str) -> bytes:
    if given == "@-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {given[1:]}: {error.strerror}") from error
    return given.encode("utf-8", "surrogateescape")


def _show_answer(client: Client, again: dict[str, Any]) -> None:
    """The answer's body on standard output, the rest on standard error."""
    what = f"{again['method']} {again['path']}"
    if again["error"]:
        complain(f"{what}: {again['error']}")
    if again["status"] is None:
        if not again["error"]:
            complain(f"{what} is not answered yet: {client.url}/requests/{again['id']} shows what comes")
        return
    took = "so far" if again["took"] is None else f"in {_seconds(again['took'])}"
    told = (
        f"{what}: {again['status']} {again['reason']}, {_size(again['sent'])} {took}, kept as {again['id']}"
    )
    complain(told)
    body = again["response"]["body"]
    if "text" in body:
        text = body["text"] if not sys.stdout.isatty() else "\n".join(map(escaped, body["text"].split("\n")))
        sys.stdout.write(text)
        if sys.stdout.isatty() and text and not text.endswith("\n"):
            sys.stdout.write("\n")
    elif sys.stdout.isatty():
        complain(f"the body is not text ({_size(body['size'])}): redirect it to a file")
    else:
        sys.stdout.buffer.write(base64.b64decode(body["base64"]))
    sys.stdout.flush()
    if body["truncated"]:
        complain(f"the body is shown in part: {_size(body['shown'])} of it")
