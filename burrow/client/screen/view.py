"""
How the agent's screen looks: a L{Scene} and a size in, lines out. No I/O, and no clock.

From top to bottom: what is connected, the tunnels, trouble, sums, the requests (or help, or a QR code), and
the keys. What does not fit is cut, and never wrapped, except URLs, which a person has to read whole.
"""

from __future__ import annotations

import time

from rich.cells import cell_len
from rich.text import Text

from burrow.client.screen.amounts import duration, number, size
from burrow.client.screen.qr import qr_lines
from burrow.client.screen.rows import Row
from burrow.client.screen.scene import Overlay, Scene, State, TunnelLine
from burrow.shown import escaped
from burrow.wording import count_of

NARROW = 60
"""Columns below which less of each request is shown."""

WIDE = 110
"""Columns from which on visitors are shown, too."""

_STATES = {
    State.CONNECTING: "bold yellow",
    State.OPENING: "bold yellow",
    State.ONLINE: "bold green",
    State.OFFLINE: "bold red",
    State.STOPPING: "bold yellow",
}

_KEYS = (
    ("?", "help"),
    ("p", "pause"),
    ("/", "filter"),
    ("o", "inspector"),
    ("c", "copy URL"),
    ("q", "QR code"),
    ("x", "quit"),
)

_HELP = (
    ("p", "pause: the list stands still, requests go on"),
    ("/", "filter, as in status:5xx method:POST path:/hook is:open time:>500ms; with - before it: not"),
    ("↑ ↓", "scroll, also PageUp, PageDown; Home: newest"),
    ("o", "open the inspector in a browser"),
    ("c", "copy the URL, if the terminal can"),
    ("q", "QR code of the URL, for a phone"),
    ("Tab", "choose the tunnel for c and q"),
    ("Esc", "leave filter, pause, help, message"),
    ("Ctrl-Z", "stop for a while; fg goes on"),
    ("x", "quit, as Ctrl-C; twice: at once"),
)


_SHORT = {
    **dict(_KEYS),
    "/": "filter, as in status:5xx",
    "↑ ↓": "scroll; Home: newest",
    "Tab": "the next tunnel",
    "Esc": "leave help, filter",
    "Ctrl-Z": "stop for a while",
}


def view(scene: Scene, width: int, height: int) -> list[Text]:
    """
    Draw a frame.

    @return: C{height} lines, none wider than C{width} columns.
    """
    if scene.overlay is Overlay.QR:
        url = next((tunnel.url for tunnel in scene.tunnels if tunnel.selected), "")
        lines = qr_lines(url, width, height - 1)
        return _fitted(
            [*lines, *[Text()] * (height - 1 - len(lines)), Text("any key: back", "dim")], width, height
        )
    footer = [_footer(scene, width)]
    room = max(3, height - len(footer) - 4)
    head = [*_head(scene, width), *_tunnels(scene, width, room), *_troubles(scene, width)]
    head = head[: max(1, height - len(footer) - 3)]
    head += [_sums(scene, width), *_counts(scene, height), Text("─" * width, "dim")]
    room = max(0, height - len(head) - len(footer))
    middle = _help(width, room) if scene.overlay is Overlay.HELP else _requests(scene, width, room)
    middle = middle[:room]
    return _fitted([*head, *middle, *[Text()] * (room - len(middle)), *footer], width, height)


def _fitted(lines: list[Text], width: int, height: int) -> list[Text]:
    lines = lines[-height:] if len(lines) > height else lines
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


# -- the head -----------------------------------------------------------------------------------------------


def _between(left: Text, right: Text, width: int) -> Text:
    """Both on one line; the left one is cut where there is not room for all."""
    room = width - right.cell_len
    if room < 12:
        return left
    left.truncate(room - 1, overflow="ellipsis")
    return Text.assemble(left, " " * (room - left.cell_len), right)


def _head(scene: Scene, width: int) -> list[Text]:
    state = Text(scene.state.value, _STATES[scene.state])
    if scene.round_trip is not None and scene.state is State.ONLINE:
        state = Text.assemble(state, (f" {duration(scene.round_trip)}", "green"))
    title = Text("Burrow", "bold")
    if width < NARROW:
        return [_between(title, state, width)]
    if scene.version:
        title = Text.assemble(title, (f" {scene.version}", "dim"))
    about = escaped(scene.server)
    if scene.server_version:
        about += f" (Burrow {escaped(scene.server_version)})"
    if scene.token:
        about += f", token {escaped(scene.token)}"
    return [_between(Text.assemble(title, (f"   {about}", "dim")), state, width)]


def _tunnels(scene: Scene, width: int, room: int) -> list[Text]:
    """The tunnels, in a third of the lines at most, the selected one among them."""
    lines: list[list[Text]] = [_tunnel(tunnel, width, len(scene.tunnels) > 1) for tunnel in scene.tunnels]
    most = max(2, room // 3)
    if sum(map(len, lines)) <= most or len(lines) == 1:
        return [line for each in lines for line in each]
    selected = next((place for place, tunnel in enumerate(scene.tunnels) if tunnel.selected), 0)
    shown: list[Text] = []
    place = first = max(0, min(selected, len(lines) - 1))
    while first > 0 and sum(map(len, lines[first - 1 : place + 1])) <= most - 1:
        first -= 1
    place = first
    while place < len(lines) and (len(shown) + len(lines[place]) <= most - 1 or place <= selected):
        shown += lines[place]
        place += 1
    left = len(lines) - (place - first)
    return [*shown, Text(f"  and {count_of(left, 'other tunnel')}: Tab shows the next", "dim")]


def _tunnel(tunnel: TunnelLine, width: int, several: bool) -> list[Text]:
    mark = Text("▸ " if tunnel.selected else "  ", "bold") if several else Text()
    upstream = escaped(tunnel.upstream)
    if tunnel.url:
        url = escaped(tunnel.url)
        if mark.cell_len + cell_len(url) + 4 + cell_len(upstream) <= width:
            lines = [Text.assemble(mark, (url, "bold cyan"), (" → ", "dim"), upstream)]
        else:
            pieces = _folded(url, width - mark.cell_len)
            indent = " " * mark.cell_len
            lines = [Text.assemble(mark, (pieces[0], "bold cyan"))]
            lines += [Text.assemble(indent, (piece, "bold cyan")) for piece in pieces[1:]]
            lines.append(Text.assemble(indent, ("→ ", "dim"), upstream))
    else:
        name = escaped(tunnel.name) or "a tunnel"
        lines = [Text.assemble(mark, (name, "bold"), (f" → {upstream}", "dim"))]
    for text, style in ((tunnel.note, "yellow"), (tunnel.warning, "yellow")):
        if text:
            about = _sentence(f"! {text}", style, width - mark.cell_len, 2)
            lines += [Text.assemble(" " * mark.cell_len, line) for line in about]
    return lines


def _folded(text: str, width: int) -> list[str]:
    """A text in pieces of C{width} columns at most. URLs have one column a character."""
    width = max(1, width)
    return [text[place : place + width] for place in range(0, len(text), width)] or [""]


def _sentence(text: str, style: str, width: int, most: int) -> list[Text]:
    """A sentence on C{most} lines at most, broken between words."""
    words, lines = escaped(text).split(), [""]
    for word in words:
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width or len(lines) == most or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(f"  {word}")
    return [Text(line, style) for line in lines]


def _troubles(scene: Scene, width: int) -> list[Text]:
    lines = []
    if scene.complaint:
        lines += _sentence(scene.complaint, "yellow", width, 3)
    if scene.trouble:
        lines += _sentence(scene.trouble, "red" if scene.state is State.OFFLINE else "yellow", width, 3)
    if scene.message:
        lines += _sentence(scene.message, "magenta", width, 2)
    if scene.note:
        lines += _sentence(scene.note, "dim", width, 2)
    if scene.inspector and width >= NARROW:
        lines.append(Text.assemble(("Inspector ", "dim"), (escaped(scene.inspector), "cyan")))
    return lines


def _sums(scene: Scene, width: int) -> Text:
    parts = [(f"{number(scene.count)} request{'' if scene.count == 1 else 's'}", "bold")]
    if scene.under_way:
        parts.append((f"{number(scene.under_way)} running", "yellow" if scene.state is State.OFFLINE else ""))
    if scene.failed:
        parts.append((f"{number(scene.failed)} failed", "red"))
    if width >= NARROW:
        parts.append((count_of(scene.connections, "connection"), ""))
        parts += [(f"in {size(scene.received)}", ""), (f"out {size(scene.sent)}", "")]
    return Text.assemble(*[part for each in parts for part in ((" · ", "dim"), each)][1:])


def _counts(scene: Scene, height: int) -> list[Text]:
    """What kinds count of their own; on a terminal of few lines requests come first."""
    return [Text(escaped(line)) for line in scene.counts[: max(0, height - 16)]][:4]


# -- the list -----------------------------------------------------------------------------------------------


def _requests(scene: Scene, width: int, room: int) -> list[Text]:
    if not scene.rows:
        return [Text(), Text(_nothing(scene), "dim")][-room:] if room else []
    several = len(scene.tunnels) > 1
    return [_row(row, width, several) for row in scene.rows[:room]]


def _nothing(scene: Scene) -> str:
    if scene.filter:
        return f"No request so far matches {escaped(scene.filter)}"
    if scene.state in (State.CONNECTING, State.OPENING):
        return ""
    beginning = _BEGINNING.get(_scheme(scene), _BEGINNING[""])
    if len(scene.tunnels) == 1:
        beginning = beginning.replace("NAME", escaped(scene.tunnels[0].name))
    return f"No {beginning}"


_BEGINNING = {
    "": "requests yet: open the URL in a browser",
    "*": "requests yet: open a host under the URL in a browser",
    "tcp": "connections yet: connect to the address above",
    "tls": "connections yet: connect to the address above, by TLS",
    "udp": "datagrams yet: send one to the address above",
    "private": "connections yet: `burrow connect NAME --listen PORT` leads here",
}
"""How the first visitor comes, by the scheme of the tunnel's URL."""


def _scheme(scene: Scene) -> str:
    """That of the tunnels' URLs; empty if a browser opens one of them, or they have several."""
    urls = [tunnel.url for tunnel in scene.tunnels if tunnel.url]
    if urls and all(url.partition("://")[2].startswith("*.") for url in urls):
        return "*"
    schemes = {url.partition("://")[0] for url in urls}
    return schemes.pop() if len(schemes) == 1 else ""


def _status(row: Row) -> tuple[str, str]:
    """Three characters, and their style."""
    if row.status is None:
        if row.took is None:
            return "···", "dim"
        return ("err", "bold red") if row.error else ("end", "dim")
    style = {1: "magenta", 2: "green", 3: "cyan", 4: "yellow"}.get(row.status // 100, "bold red")
    return str(row.status), style


def _row(row: Row, width: int, several: bool) -> Text:
    status, style = _status(row)
    method = "WS" if row.protocol == "websocket" else row.method or row.protocol.upper()
    target = escaped(row.target if row.method else row.visitor)
    if row.error:
        target = f"{target}  {escaped(row.error)}"
    took = duration(row.age)
    timing = "dim" if row.took is not None else "yellow"
    if width < NARROW:
        return Text.assemble(f"{escaped(method)[:6]:<6} ", (status, style), (f" {took:>7} ", timing), target)
    when = time.strftime("%H:%M:%S", time.localtime(row.began))
    left = Text.assemble((f"{when} ", "dim"), f"{escaped(method)[:7]:<7} ", (status, style), " ")
    right = Text.assemble((f" {took:>7}", timing), f" {size(row.sent):>8}")
    if width >= WIDE:
        visitor = _cut(escaped(row.visitor), 21)
        tunnel = f"  {_cut(escaped(row.tunnel), 16):<16}" if several else ""
        right = Text.assemble((f"{tunnel}  {visitor:<21}", "dim"), right)
    room = width - left.cell_len - right.cell_len
    middle = Text(target, "red" if row.error else "")
    middle.truncate(max(1, room), overflow="ellipsis", pad=True)
    return Text.assemble(left, middle, right)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _help(width: int, room: int) -> list[Text]:
    """What the keys do; where that is too long, in as many words as the line of keys has."""
    lines = []
    for key, does in _HELP:
        about = _sentence(does, "", width - 9, 3)
        lines.append(Text.assemble((f" {key:<6}  ", "bold cyan"), about[0]))
        lines += [Text.assemble(" " * 9, line) for line in about[1:]]
    if len(lines) <= room:
        return lines
    return [Text.assemble((f" {key:<6}  ", "bold cyan"), _SHORT.get(key, does)) for key, does in _HELP]


# -- the foot -----------------------------------------------------------------------------------------------


def _footer(scene: Scene, width: int) -> Text:
    if scene.typed is not None:
        typed, room = escaped(scene.typed), max(1, width - 4)
        start, typed = ("/", typed) if cell_len(typed) <= room else ("/…", typed[-room:])  # its end is new
        line = Text.assemble((start, "bold"), typed, (" ", "reverse"))
        return _between(line, Text(f"{number(scene.matching)} match, Enter keeps, Esc leaves", "dim"), width)
    if scene.frozen:
        news = f" {number(scene.hidden)} new"
        left = Text.assemble((" paused ", "reverse"), (news, "yellow"))
        if scene.first:
            left = Text.assemble(left, (f", from number {number(scene.first + 1)} on", "dim"))
        return _between(
            left, Text("p goes on" if width < NARROW else "p goes on  ? help  x quit", "dim"), width
        )
    if scene.filter:
        found = f" {number(scene.matching)} match"
        left = Text.assemble(("filter ", "dim"), (escaped(scene.filter), "cyan"), (found, "dim"))
        return _between(left, Text("/ changes, Esc leaves", "dim"), width)
    return _keys(width)


def _keys(width: int) -> Text:
    """As many of the keys as there is room for; help and quit before the others."""
    kept = list(_KEYS)
    while len(kept) > 2 and sum(len(key) + len(does) + 3 for key, does in kept) - 2 > width:
        del kept[-2]
    return Text("  ").join(Text.assemble((key, "bold"), (f" {does}", "dim")) for key, does in kept)
