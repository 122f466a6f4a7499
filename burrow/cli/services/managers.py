"""The programs that run services: systemd and launchd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from burrow.cli.services.units import LABELS, RELOADS_SINCE, Job, launchd_plist, systemd_unit
from burrow.errors import BurrowError, ConfigError
from burrow.wording import system_words

SYSTEM_UNITS = Path("/etc/systemd/system")

_PATIENCE = 90
"""Seconds that such a program may take."""


class Manager:
    """@ivar role: "agent" or "server"."""

    def __init__(self, role: str) -> None:
        self.role = role

    @property
    def path(self) -> Path:
        """The file that tells it what to run."""
        raise NotImplementedError

    def text(self, job: Job) -> str:
        """What stands in the file."""
        raise NotImplementedError

    def install(self, job: Job) -> str:
        """Write the file, and start the service now and always. @return: where its log is."""
        raise NotImplementedError

    def uninstall(self) -> None:
        """Stop the service, and remove the file."""
        raise NotImplementedError

    def status(self) -> tuple[bool, str]:
        """Whether it runs, and a sentence."""
        raise NotImplementedError

    def write(self, text: str) -> None:
        """Write the file. @raise ConfigError: that is not possible."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error

    def check_right(self) -> None:
        """@raise ConfigError: only root may."""
        if self.role == "server" and os.geteuid() != 0:
            raise ConfigError(
                "the server's service belongs to the system: run this with sudo, or with --print to see what "
                "would be written"
            )

    def remove(self) -> None:
        """Remove the file. @raise ConfigError: it is not there, or stays."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            raise ConfigError(f"there is no service of the {self.role}: {self.path} is not there") from None
        except OSError as error:
            raise ConfigError(f"cannot remove {self.path}: {error.strerror}") from error


def ask(*command: str, check: bool = True) -> str:
    """
    Run a program; return what it printed.

    @raise BurrowError: it failed; the text has what it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BurrowError(f"cannot run {command[0]}: {system_words(error)}") from error
    if check and done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise BurrowError(f"`{' '.join(command)}` failed: {said}")
    return done.stdout


class Systemd(Manager):
    """systemd(1): a unit of the user for the agent, of the system for the server."""

    @property
    def _unit(self) -> str:
        return f"burrow-{self.role}.service"

    @property
    def _ctl(self) -> tuple[str, ...]:
        return ("systemctl",) if self.role == "server" else ("systemctl", "--user")

    @property
    def path(self) -> Path:
        """See L{Manager}."""
        if self.role == "server":
            folder = SYSTEM_UNITS
        else:
            config = os.environ.get("XDG_CONFIG_HOME")
            folder = (Path(config) if config else Path.home() / ".config") / "systemd" / "user"
        return folder / self._unit

    def text(self, job: Job) -> str:
        """See L{Manager}."""
        version = RELOADS_SINCE - 1
        with suppress(BurrowError):
            found = re.match(r"systemd (\d+)", ask("systemctl", "--version"))
            version = int(found[1]) if found else version
        return systemd_unit(job, version)

    def install(self, job: Job) -> str:
        """See L{Manager}."""
        self.write(self.text(job))
        ask(*self._ctl, "daemon-reload")
        ask(*self._ctl, "enable", self._unit)
        ask(*self._ctl, "restart", self._unit)
        return f"journalctl {'' if self.role == 'server' else '--user '}-u {self._unit}"

    def uninstall(self) -> None:
        """See L{Manager}."""
        if self.path.exists():
            ask(*self._ctl, "disable", "--now", self._unit, check=False)
        self.remove()
        ask(*self._ctl, "daemon-reload")

    def status(self) -> tuple[bool, str]:
        """See L{Manager}."""
        asked = "ActiveState,SubState,UnitFileState,StatusText,ActiveEnterTimestamp,Result"
        told = ask(*self._ctl, "show", f"--property={asked}", self._unit)
        found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        active = found.get("ActiveState") in ("active", "reloading")
        since = f" since {found['ActiveEnterTimestamp']}" if found.get("ActiveEnterTimestamp") else ""
        text = f"runs{since}" if active else f"does not run ({found.get('ActiveState') or 'unknown'}"
        if not active:
            reason = found.get("Result", "success")
            text += ")" if reason in ("", "success") else f", {reason})"
        if found.get("StatusText"):
            text += f": {found['StatusText']}"
        enabled = found.get("UnitFileState") == "enabled"
        when = "with the system" if self.role == "server" else "at login"
        return active, f"{text}; {'starts' if enabled else 'does not start'} {when}"


class Launchd(Manager):
    """launchd(8) of macOS: an agent of the user, a daemon of the system."""

    @property
    def _domain(self) -> str:
        return "system" if self.role == "server" else f"gui/{os.getuid()}"

    @property
    def _log(self) -> str:
        if self.role == "server":
            return "/Library/Logs/burrow-server.log"
        return str(Path.home() / "Library" / "Logs" / "burrow-agent.log")

    @property
    def path(self) -> Path:
        """See L{Manager}."""
        name = f"{LABELS[self.role]}.plist"
        if self.role == "server":
            return Path("/Library/LaunchDaemons") / name
        return Path.home() / "Library" / "LaunchAgents" / name

    def text(self, job: Job) -> str:
        """See L{Manager}."""
        return launchd_plist(job, self._log)

    def install(self, job: Job) -> str:
        """See L{Manager}."""
        self.write(self.text(job))
        ask("launchctl", "bootout", f"{self._domain}/{LABELS[self.role]}", check=False)
        ask("launchctl", "bootstrap", self._domain, str(self.path))
        return f"tail -f {self._log}"

    def uninstall(self) -> None:
        """See L{Manager}."""
        ask("launchctl", "bootout", f"{self._domain}/{LABELS[self.role]}", check=False)
        self.remove()

    def status(self) -> tuple[bool, str]:
        """See L{Manager}."""
        told = ask("launchctl", "print", f"{self._domain}/{LABELS[self.role]}", check=False)
        active = "state = running" in told
        return active, "runs" if active else "does not run"


def manager(role: str, platform: str = sys.platform, *, only_print: bool = False) -> Manager:
    """
    What runs services on this machine.

    @raise ConfigError: nothing that is known.
    """
    if platform == "darwin":
        return Launchd(role)
    if not only_print and shutil.which("systemctl") is None:
        command = "burrow start" if role == "agent" else "burrow server --config FILE"
        raise ConfigError(
            f"this machine has no systemd: have what starts programs here run `{command}`; "
            "`burrow service install --print` shows what systemd would be told"
        )
    return Systemd(role)
