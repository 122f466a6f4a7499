"""
A running server's hold on its state folder, and how C{burrow server reload} finds it.

Two files: L{LOCK_FILE} is locked (flock(2)) as long as the server runs, so that a second one does not start
on the same folder. L{STATE_FILE} has its process id, and is locked by the same process: the system lets go
of a lock when its process ends, however it does, so an id without a lock is nobody's, or a stranger's.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from twisted.logger import Logger

from burrow.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where there are neither workers nor reload
    fcntl = None  # type: ignore[assignment]

LOCK_FILE, STATE_FILE = "server.lock", "server.json"
_LENGTH = 120


class Claim:
    """
    The hold on C{folder}, to be had while a server accepts connections.

    @raise ConfigError: another server has it, or C{needed} and the folder cannot be written.
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
        """Keep what L{server_state} reads: this process's id is added."""
        if self._lock is None:
            return
        new = self.folder / f"{STATE_FILE}.new"
        # All of one length, so that one can be written over another.
        text = json.dumps({"pid": os.getpid(), **state}).ljust(_LENGTH).encode()
        before = self._state
        try:
            # Locked before it has its name: whoever opens it by that finds it locked.
            handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            self._state = handle
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(handle, text)
            new.replace(self.folder / STATE_FILE)
            if before is not None:
                os.close(before)
        except OSError as error:
            if before is not None:
                if self._state is not None and self._state != before:
                    os.close(self._state)
                self._state = before
                with contextlib.suppress(OSError):
                    os.pwrite(before, text, 0)  # a full disk has room for what is there already
                    return
            self.log.warn(
                "{file} cannot be written, so `burrow server reload` will not find this server: {error}",
                file=str(self.folder / STATE_FILE),
                error=error.strerror,
            )

    def release(self) -> None:
        """Let another server have the folder. Its state file is removed if it is still this server's."""
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
    What the server that runs with C{folder} wrote last.

    @raise ConfigError: none runs: there is no file, or the process that wrote it has ended, whoever may have
        its id now.
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
                    break  # else it was written anew meanwhile
    raise ConfigError(
        f"no `burrow server` runs with the state folder {folder}: choose its own with --state DIR"
    )
