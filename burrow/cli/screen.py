"""
What a tunnel command shows: a screen on a terminal; elsewhere lines for a person, or one JSON object a line
for a program.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

from burrow.cli.line_writer import LineWriter
from burrow.cli.run import before_the_end, complain, say, stdout_is_broken
from burrow.client.agent import Agent
from burrow.client.counted import CountsTold, counted_by, sentences
from burrow.client.screen.lines import HumanLines, JsonLines
from burrow.client.screen.terminal import can_show
from burrow.client.wanted import Opened
from burrow.shown import escaped
from burrow.traffic.record import Record
from burrow.wording import count_of

MAX_WAITING = 2 * 1024 * 1024
"""Characters of lines of requests that wait for standard output, or are being written, at most."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """What a tunnel command's output can be."""
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="show no screen and no requests: only URLs and what is wrong",
    )


class Screen:
    """
    Shows an agent's events: with C{as_json} all on standard output, one JSON object a line; else on a
    terminal as a screen; else the URLs and requests on standard output, and other events on standard error.

    @param quiet: whether requests are not shown, and no screen is.
    """

    def __init__(self, *, as_json: bool, quiet: bool = False) -> None:
        self._json = as_json
        self._quiet = quiet
        self._shown: dict[str, str] = {}
        self._live: Any = None
        self._held: Any = None
        self._output: LineWriter | None = None
        self._agent: Agent | None = None
        self._counts: CountsTold | None = None
        self._inspector = ""

    def watch(self, agent: Agent, before: Iterable[Record] = ()) -> None:
        """
        Show what happens to C{agent}.

        @param before: the requests that came before this, if it has started already.
        """
        agent.on_opened.append(self.opened)
        agent.on_event.append(self.event)
        if self._quiet:
            return
        if not self._json and can_show(os.environ) and self._begin(agent):
            for record in before:
                self._live.requests.begun(record)
                if record.took is not None:
                    self._live.requests.ended(record)
            return
        reactor = agent.reactor
        self._output = LineWriter(
            1, MAX_WAITING, self._dropped, lambda error: reactor.callFromThread(self._broken, error)
        )
        agent.traffic.add((JsonLines if self._json else HumanLines)(self._output.put))
        self._agent = agent
        if self._json:
            self._counts = CountsTold(agent, self._counted)
            self._counts.start()

    def inspector_at(self, url: str) -> None:
        """The inspector serves at this URL. Call it before a tunnel is open."""
        self._inspector = url
        if self._live is not None:
            self._live.inspector = url
            self._live.changed()

    def tell(self, text: str) -> None:
        """Something that a person may want to know. Programs are not told."""
        if self._live is not None:
            self._live.note = text
            self._live.changed()
        elif not self._json:
            say(text)

    def close(self) -> None:
        """Give the terminal back, or write the last lines. May be called more than once."""
        live, self._live = self._live, None
        if live is not None:
            before_the_end.remove(self.close)
            lines = live.close()
            self._held.end()
            for line in lines:
                say(escaped(line))
        agent, self._agent = self._agent, None
        if self._counts is not None:
            self._counts.stop()
        if self._output is not None:
            if agent is not None and not self._json:
                for line in sentences(counted_by(agent)):
                    self._output.put(line)
            self._output.close()

    # -- on a terminal --------------------------------------------------------------------------------------

    def _begin(self, agent: Agent) -> bool:
        """@return: whether there is a screen now."""
        # Here, since commands without a screen need not load it.
        from burrow.client.screen.held import HeldErrors, is_same_terminal
        from burrow.client.screen.live import LiveScreen

        def stop() -> None:
            signal.raise_signal(signal.SIGINT)

        encoding = str(getattr(sys.stdout, "encoding", None) or "utf-8")
        live = LiveScreen(agent, os.environ, stop, encoding=encoding)
        try:
            live.start()
        except OSError:
            return False
        self._live = live
        self._held = HeldErrors(live.logged)
        if is_same_terminal(sys.stderr):
            self._held.begin()
        before_the_end.append(self.close)
        return True

    # -- what happens ---------------------------------------------------------------------------------------

    def opened(self, opened: Opened) -> None:
        """A tunnel is open. After a reconnect it is not shown again, unless its URL is another."""
        if self._live is not None:
            self._live.opened(opened)
            return
        if self._shown.get(opened.name) == opened.url:
            return
        first = not self._shown
        self._shown[opened.name] = opened.url
        upstream = str(opened.request.upstream)
        if self._json:
            kind = opened.request.kind.name
            more = {"inspector": self._inspector} if self._inspector else {}
            self._emit("ready", kind=kind, name=opened.name, url=opened.url, upstream=upstream, **more)
        else:
            say(escaped(f"{opened.url} -> {upstream}"))
            if first and self._inspector and not self._quiet:
                complain(f"the inspector is at {self._inspector}")

    def event(self, event: str, text: str) -> None:
        """Show an event: see C{on_event} of L{Agent}."""
        if self._live is not None:
            self._live.event(event, text)
        elif self._json:
            if event == "connected" and not self._shown:
                return  # the first line says ready
            self._emit(event, message=text)
        elif event != "connected" or self._shown:
            complain(text)

    def failed(self, error: Exception) -> None:
        """Show the error that ends the command; without JSON, L{burrow.cli.run.run} shows it."""
        if self._json:
            self._emit("error", error=type(error).__name__, message=str(error))

    def _emit(self, event: str, **fields: Any) -> None:
        say(json.dumps({"event": event, **fields}))

    def _counted(self, kind: str, counts: dict[str, int]) -> None:
        if self._output is not None:
            self._output.put(json.dumps({"event": "counts", "kind": kind, "counts": counts}))

    # -- lines of requests ----------------------------------------------------------------------------------

    def _dropped(self, count: int) -> str:
        if self._json:
            return json.dumps({"event": "dropped", "count": count})
        return f"burrow: {count_of(count, 'line')} left out, since nobody read fast enough"

    def _broken(self, error: OSError) -> None:
        if stdout_is_broken(error):
            complain(f"cannot write to standard output: {error.strerror}; going on")
