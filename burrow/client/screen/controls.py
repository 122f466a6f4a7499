"""What a person has asked of the screen by its keys. No I/O: what goes beyond the screen is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from burrow.client.screen.rows import Requests
from burrow.client.screen.scene import Overlay
from burrow.traffic.filter import MAX_LENGTH, Filter


class Acts(Protocol):
    """What keys do that is not the list's: of the L{LiveScreen<burrow.client.screen.live.LiveScreen>}."""

    def quit(self) -> None:
        """End the agent."""

    def copy(self) -> None:
        """Copy the chosen tunnel's URL."""

    def open(self) -> None:
        """Open the inspector."""

    def redraw(self) -> None:
        """Draw all anew."""

    def dismiss(self) -> None:
        """Show the present message no more."""

    def tunnel_count(self) -> int:
        """How many tunnels there are to choose from."""

    def page(self) -> int:
        """How many lines a page of the list has."""


class Controls:
    """
    @ivar overlay: what is shown in the place of the list. @ivar selected: which tunnel is chosen.
    @ivar first: how many rows are scrolled out above. @ivar filter: which rows are shown.
    @ivar typing: the filter that is being typed; None if none is. @ivar complaint: what is wrong with it.
    """

    def __init__(self, acts: Acts, requests: Requests) -> None:
        self._acts = acts
        self._requests = requests
        self.overlay = Overlay.NONE
        self.selected = 0
        self.first = 0
        self.filter = Filter()
        self.typing: str | None = None
        self.complaint = ""

    def key(self, key: str) -> None:
        """A key was pressed: see L{burrow.client.screen.keys}."""
        if key == "ctrl-l":
            self._acts.redraw()
        elif key == "ctrl-c":
            self._acts.quit()
        elif self.typing is not None:
            self._edit(self.typing, key)
        elif self.overlay is Overlay.QR and key != "x":
            self.overlay = Overlay.NONE
        else:
            act = self._KEYS.get(key)
            if act is not None:
                act(self)

    def _edit(self, typed: str, key: str) -> None:
        """A key while the filter is being typed: the list follows each."""
        if key == "enter" and self.complaint:
            return  # the complaint stays, until it is mended or left
        if key in ("enter", "escape"):
            self.typing = None
            self.complaint = ""
            if key == "escape":
                self.filter = Filter()
            return
        if key == "backspace":
            typed = typed[:-1]
        elif key == "ctrl-u":
            typed = ""
        elif len(key) == 1 and len(typed) < MAX_LENGTH:
            typed += key
        self.typing, self.complaint = typed, ""
        try:
            self.filter, self.first = Filter(typed), 0
        except ValueError as error:
            self.complaint = str(error)

    def _type(self) -> None:
        self.typing = self.filter.text
        self.overlay = Overlay.NONE

    def _help(self) -> None:
        self.overlay = Overlay.NONE if self.overlay is Overlay.HELP else Overlay.HELP

    def _qr(self) -> None:
        self.overlay = Overlay.QR

    def _pause(self) -> None:
        if self._requests.frozen:
            self._go_on()
        else:
            self._requests.freeze()

    def _go_on(self) -> None:
        self._requests.thaw()
        self.first = 0

    def _scroll(self, lines: int) -> None:
        """The list stands still then: else it would move under one's eyes."""
        self._requests.freeze()
        self.first = min(max(0, self.first + lines), max(0, self._requests.matching(self.filter) - 1))

    def _leave(self) -> None:
        """Escape: one thing after the other."""
        if self.overlay is not Overlay.NONE:
            self.overlay = Overlay.NONE
        elif self.filter.text:
            self.filter = Filter()
        elif self._requests.frozen:
            self._go_on()
        else:
            self._acts.dismiss()

    def _select(self, step: int) -> None:
        self.selected = (self.selected + step) % max(1, self._acts.tunnel_count())

    _KEYS: Mapping[str, Callable[[Controls], None]] = {
        "?": _help,
        "h": _help,
        "p": _pause,
        " ": _pause,
        "/": _type,
        "q": _qr,
        "c": lambda self: self._acts.copy(),
        "o": lambda self: self._acts.open(),
        "x": lambda self: self._acts.quit(),
        "escape": _leave,
        "up": lambda self: self._scroll(-1),
        "down": lambda self: self._scroll(1),
        "pageup": lambda self: self._scroll(-self._acts.page()),
        "pagedown": lambda self: self._scroll(self._acts.page()),
        "home": _go_on,
        "end": lambda self: self._scroll(self._requests.count),
        "tab": lambda self: self._select(1),
        "backtab": lambda self: self._select(-1),
    }
