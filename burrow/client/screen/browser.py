"""Starts a person's browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping

_OPENERS = ("xdg-open", "wslview")
_started: list[subprocess.Popen[bytes]] = []


def open_browser(url: str, environ: Mapping[str, str]) -> bool:
    """
    Show C{url} in a browser with windows. One in the terminal, which Python's C{webbrowser} would start over
    SSH, would take the screen's place.

    @return: whether something was started.
    """
    if sys.platform == "darwin":
        program = shutil.which("open")
    elif environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") or environ.get("WSL_DISTRO_NAME"):
        program = next(filter(None, map(shutil.which, _OPENERS)), None)
    else:
        program = None
    if program is None:
        return False
    _started[:] = [each for each in _started if each.poll() is None]
    try:
        # In a session of its own: Ctrl-C here is not for the browser.
        _started.append(
            subprocess.Popen(
                [program, url],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    except OSError:
        return False
    return True
