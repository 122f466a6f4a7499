"""
The screen of a running agent: gathers what is to be shown, and draws.

It draws when something has changed, L{EVERY} seconds after the last frame at the earliest, and takes a tenth
of the CPU at most; while the terminal has not taken the last frame, none is made. Nothing waits for it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import LoopingCall

from burrow import __version__
from burrow.client.agent import Agent
from burrow.client.counted import counted_by, sentences
from burrow.client.screen.amounts import duration, number, span
from burrow.client.screen.browser import open_browser
from burrow.client.screen.controls import Controls
from burrow.client.screen.keys import Keys
from burrow.client.screen.paint import Painter
from burrow.client.screen.rows import Requests
from burrow.client.screen.scene import Scene, State, TunnelLine
from burrow.client.screen.status import Status, server_url
from burrow.client.screen.terminal import Terminal
from burrow.client.screen.upstreams import Upstreams
from burrow.client.screen.view import view
from burrow.client.wanted import Opened
from burrow.clock import cancel
from burrow.wording import count_of

EVERY = 0.1
"""Seconds between two frames, at least."""

SHARE = 10
"""A frame that took so long is followed by a pause of so many times that."""

TICK = 1.0
"""Seconds between two looks at what nobody tells: the connection, the round trip, times that run."""

_ESCAPE_WITHIN = 0.05
_FLASH, _LOGGED = 4.0, 30.0
_WIDEST, _HIGHEST = 400, 200
_HEAD = 9


class LiveScreen:
    """
    The screen.

    @param on_quit: called when a person wants to end the agent, each time they do.
    @param on_gone: called when the terminal was closed. @param cpu: returns the seconds of CPU used so far.
    @ivar inspector: the URL of the inspector; empty if there is none. To be set by whoever starts it.
    @ivar note: what stays to be read, such as whom a browser has to trust; likewise.
    """

    def __init__(
        self,
        agent: Agent,
        environ: Mapping[str, str],
        on_quit: Callable[[], None],
        *,
        encoding: str = "utf-8",
        terminal: Callable[..., Any] = Terminal,
        on_gone: Callable[[], None] = lambda: None,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._agent = agent
        self._clock: Any = agent.reactor
        self._environ = environ
        self._on_quit = on_quit
        self._cpu = cpu
        self.inspector = ""
        self.note = ""
        self.requests = Requests(self.changed)
        self.requests.on_error = self._failed
        self._controls = Controls(self, self.requests)
        self._status = Status(agent)
        self._upstreams = Upstreams(self._clock, self.changed)
        self._terminal = terminal(self._clock, self._typed, self.redraw, self._drained, on_gone)
        self._painter = Painter(environ, encoding)
        self._keys = Keys()
        self._escaping: Any = None
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = self._clock
        self._due: Any = None
        self._dirty = False
        self._earliest = float("-inf")
        self._signature: object = None
        self._opened: dict[Any, Opened] = {}
        self._began = self._clock.seconds()
        self._counts: list[str] = []  # of the last tick: a frame in between shows them, too
        self._message = ""
        self._passing = False  # whether the message goes when it is true no more
        self._flash: Any = None

    # -- beginning and end ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the terminal. @raise OSError: it cannot be opened."""
        self._terminal.open()
        self._agent.traffic.add(self.requests)
        self._ticking.start(TICK, now=False)
        self.changed()

    def close(self) -> list[str]:
        """Give the terminal back. @return: what is to be said then, a line each."""
        self._terminal.close()
        self._upstreams.stop()
        self._agent.traffic.remove(self.requests)
        if self._ticking.running:
            self._ticking.stop()
        for call in (self._due, self._escaping, self._flash):
            cancel(call)
        if not self._opened:
            return []
        lines = [f"{opened.url} -> {opened.request.upstream}" for opened in self._opened.values()]
        served = count_of(self.requests.count, "request")
        failed = f", {number(self.requests.failed)} failed" if self.requests.failed else ""
        took = span(self._clock.seconds() - self._began)
        return [*lines, f"{served}{failed} in {took}", *sentences(counted_by(self._agent))]

    # -- what happens ---------------------------------------------------------------------------------------

    def opened(self, opened: Opened) -> None:
        """See C{on_opened} of L{Agent}."""
        self._opened[opened.request] = opened
        self._upstreams.ask(opened.request.upstream)
        self.changed()

    def event(self, event: str, text: str) -> None:
        """See C{on_event} of L{Agent}."""
        if not self._status.event(event, text):
            self._message, self._passing = text, self._agent.holds(text)
        self.changed()

    def logged(self, text: str) -> None:
        """A warning or an error was logged: show it for a while, unless it says what is shown anyway."""
        if not any(warning and warning in text for warning in self._upstreams.warnings.values()):
            self._tell_shortly(text, _LOGGED)
            self.changed()

    def _failed(self, tunnel: str) -> None:
        """A request failed: perhaps the service has stopped."""
        for opened in self._opened.values():
            if opened.name == tunnel:
                self._upstreams.ask(opened.request.upstream)

    # -- drawing --------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Draw soon."""
        if not self._dirty:
            self._dirty = True
            if self._due is None:
                delay = max(0.0, self._earliest - self._clock.seconds())
                self._due = self._clock.callLater(delay, self._draw)

    def redraw(self) -> None:
        """The terminal shows something else, or has another size."""
        self._painter.forget()
        self._dirty = self._due is not None
        self.changed()

    def _drained(self) -> None:
        if self._dirty and self._due is None:
            self._dirty = False
            self.changed()

    def _draw(self) -> None:
        self._due = None
        if self._terminal.busy or not self._terminal.active:
            return  # _drained or redraw asks again
        began = self._cpu()
        self._dirty = False
        columns, lines = self._terminal.size
        width, height = min(columns, _WIDEST), min(lines, _HIGHEST)
        data = self._painter.paint(view(self._scene(height), width, height), width)
        if data:
            self._terminal.write(data)
        pause = max(EVERY, (self._cpu() - began) * SHARE)
        self._earliest = self._clock.seconds() + pause

    def _tick(self) -> None:
        self._counts = sentences(counted_by(self._agent))
        self._terminal.check()
        self._status.look()
        running = self._status.state is not State.ONLINE or self.requests.under_way
        linked = self._agent.linked
        signature = (
            self._status.state,
            int(self._clock.seconds()) if running else 0,
            duration(linked.session.pings.last or 0) if linked is not None else "",
            self._agent.visitors,
            [(wanted.open, wanted.refusal) for wanted in self._agent.wanted.all],
            self._counts,
        )
        if signature != self._signature:
            self._signature = signature
            self.changed()

    def _scene(self, height: int) -> Scene:
        agent, requests, controls = self._agent, self.requests, self._controls
        self._status.look()
        if self._passing and not agent.holds(self._message):
            self._message, self._passing = "", False
        linked = agent.linked
        return Scene(
            state=self._status.state,
            server=server_url(agent),
            version=__version__,
            server_version=linked.server_version if linked is not None else "",
            token=linked.token_name if linked is not None else "",
            round_trip=linked.session.pings.last if linked is not None else None,
            tunnels=self._tunnels(),
            trouble=self._status.trouble(requests.under_way),
            message=self._message,
            note=self.note,
            inspector=self.inspector,
            count=requests.count,
            failed=requests.failed,
            under_way=requests.under_way,
            connections=agent.visitors,
            received=requests.received,
            sent=requests.sent,
            counts=self._counts,
            rows=requests.newest(controls.filter, controls.first, height),
            matching=requests.matching(controls.filter),
            first=controls.first,
            frozen=requests.frozen,
            hidden=requests.hidden,
            filter=controls.filter.text,
            typed=controls.typing,
            complaint=controls.complaint,
            overlay=controls.overlay,
        )

    def _tunnels(self) -> list[TunnelLine]:
        lines = []
        for place, wanted in enumerate(self._agent.wanted.all):
            opened = self._opened.get(wanted.request)
            lines.append(
                TunnelLine(
                    name=opened.name if opened is not None else wanted.request.name or "",
                    url=opened.url if opened is not None else "",
                    upstream=str(wanted.request.upstream),
                    note="" if wanted.refusal is None else str(wanted.refusal),
                    warning=self._upstreams.warnings.get(wanted.request.upstream, ""),
                    selected=place == self._controls.selected,
                )
            )
        return lines

    # -- keys: see L{Acts<burrow.client.screen.controls.Acts>} ----------------------------------------------

    def _typed(self, data: bytes) -> None:
        cancel(self._escaping)
        for key in self._keys.feed(data):
            self._controls.key(key)
        if self._keys.waiting:
            self._escaping = self._clock.callLater(_ESCAPE_WITHIN, self._escaped)
        self.changed()

    def _escaped(self) -> None:
        """Nothing followed: it was the escape key."""
        for key in self._keys.flush():
            self._controls.key(key)
        self.changed()

    def quit(self) -> None:
        """End the agent."""
        self._on_quit()

    def page(self) -> int:
        """How many lines a page of the list has, about."""
        return max(1, int(self._terminal.size[1]) - _HEAD)

    def tunnel_count(self) -> int:
        """How many tunnels there are."""
        return len(self._agent.wanted.all)

    def dismiss(self) -> None:
        """Show the present message no more."""
        self._message = ""

    def copy(self) -> None:
        """Copy the chosen tunnel's URL: OSC 52 of xterm's "ctlseqs"."""
        url = next((tunnel.url for tunnel in self._tunnels() if tunnel.selected), "")
        if not url:
            self._tell_shortly("there is no URL yet")
            return
        self._terminal.write(b"\x1b]52;c;%b\x07" % base64.b64encode(url.encode()))
        self._tell_shortly(f"copied, if this terminal lets programs copy: {url}")

    def open(self) -> None:
        """Open the inspector."""
        if not self.inspector:
            self._tell_shortly("there is no inspector")
        elif not open_browser(self.inspector, self._environ):
            self._tell_shortly(f"no browser can be started from here: open {self.inspector}")

    def _tell_shortly(self, text: str, seconds: float = _FLASH) -> None:
        """Show a message for so long."""
        cancel(self._flash)
        self._message, self._passing = text, False
        self._flash = self._clock.callLater(seconds, self._tell_no_more, text)

    def _tell_no_more(self, text: str) -> None:
        if self._message == text:
            self._message = ""
            self.changed()
