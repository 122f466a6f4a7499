"""
A running server's claim on its state folder, and how C{burrow server reload} finds the server.

The server keeps two files locked (flock(2)). L{LOCK_FILE} keeps a second server from starting on the same
folder. L{STATE_FILE} has the server's process id. The system releases the locks when the process ends, for
whatever reason. So if L{STATE_FILE} is not locked, its process id is that of no server: the process has
ended, and its id may be another program's by now.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

from twisted.logger import Logger

from burrow.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, which has neither workers nor reload
    fcntl = None  # type: ignore[assignment]

LOCK_FILE, STATE_FILE = "server.lock", "server.json"
_HELD = re.compile(r"^\d+: FLOCK +\w+ +WRITE +(\d+) ", re.MULTILINE)
"""A process that has a file locked, in /proc/locks (proc(5))."""

_LENGTH = 120
"""Bytes of the state file, padded: all of one length, so that one can be written over another."""


class Claim:
    """
    Claims a folder, until L{release}.

    @param needed: whether a folder that cannot be written is an error. If not it is logged, and the server
        runs without a claim: C{burrow server reload} does not find it.
    @raise ConfigError: another server has the folder, or it cannot be written and C{needed}.
    """

    log = Logger()

    def __init__(self, folder: Path, *, needed: bool) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._state: int | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if needed:
                raise ConfigError(
                    f"cannot write in the state folder {folder}: {error.strerror}; "
                    "give another --state DIR, or its owner the right to"
                ) from error
            self.log.warn(
                "{folder} cannot be written, so `burrow server reload` will not find this server: {error}",
                folder=str(folder),
                error=error.strerror,
            )
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise ConfigError(
                f"another `burrow server` runs with the state folder {folder}: stop it, "
                "or give this one its own with --state DIR"
            ) from error
        except OSError as error:  # a file system without locks
            self.log.warn("{folder} cannot be locked: {error}", folder=str(folder), error=error.strerror)

    def write(self, **state: int) -> None:
        """Write what L{server_state} reads; the process id is added. A failure is logged."""
        if self._lock is None:
            return
        new = self.folder / f"{STATE_FILE}.new"
        text = json.dumps({"pid": os.getpid(), **state}).ljust(_LENGTH).encode()
        handle: int | None = None
        try:
            # Locked before it gets its name, so that a reader never finds it there unlocked.
            handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(handle, text)
            new.replace(self.folder / STATE_FILE)
        except OSError as error:
            if handle is not None:
                os.close(handle)  # else the next try would find its own file locked
            if self._state is not None:
                with contextlib.suppress(OSError):
                    os.pwrite(self._state, text, 0)  # works on a full disk, since the file gets no longer
                    return
            self.log.warn(
                "{file} cannot be written, so `burrow server reload` will not find this server: {error}",
                file=str(self.folder / STATE_FILE),
                error=error.strerror,
            )
            return
        if self._state is not None:
            os.close(self._state)
        self._state = handle

    def release(self) -> None:
        """Release both locks, and remove the state file if it is still this server's."""
        if self._state is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self._state), (self.folder / STATE_FILE).stat()):
                    (self.folder / STATE_FILE).unlink()
        for handle in (self._state, self._lock):
            if handle is not None:
                os.close(handle)
        self._state = self._lock = None


def server_state(folder: Path) -> dict[str, int]:
    """
    What the server that runs with C{folder} wrote last: its C{pid}, and how many reloads were done
    (C{reloaded}) and how many C{failed}.

    @raise ConfigError: no server runs with it: there is no file, or the process that wrote it has ended.
    """
    file = folder / STATE_FILE
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        while True:
            with file.open("rb") as opened:
                try:
                    fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    state = json.loads(opened.read(1000))
                    return {name: int(state[name]) for name in ("pid", "reloaded", "failed")}
                if os.path.samestat(os.fstat(opened.fileno()), file.stat()):
                    break  # else the file was replaced meanwhile: read that
    raise ConfigError(
        f"no `burrow server` runs with the state folder {folder}: choose its own with --state DIR"
    )


def servers_here(proc: Path = Path("/proc")) -> list[Path]:
    """
    The state folders of the servers that run on this machine, as far as can be known: on Linux, and of other
    users' servers for root alone.

    @param proc: where the system tells of its processes: proc(5).
    """
    found = set()
    with contextlib.suppress(OSError):
        for pid in set(_HELD.findall((proc / "locks").read_text())):
            with contextlib.suppress(OSError):  # another user's, or it has ended
                for handle in (proc / pid / "fd").iterdir():
                    file = Path(os.readlink(handle))
                    if file.name == STATE_FILE:
                        found.add(file.parent)
    return sorted(found)
