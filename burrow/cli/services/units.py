"""The texts that tell systemd and launchd what to run. None has a token in it: it may be read by others."""

from __future__ import annotations

import plistlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attr

RELOADS_SINCE = 253
"""The release of systemd from which on it knows C{Type=notify-reload}."""

LABELS = {"agent": "dev.burrow.agent", "server": "dev.burrow.server"}
"""What the services are called by launchd."""

WATCHDOG = 60
"""Seconds after which systemd ends and starts anew a service whose reactor stands still."""

STATE = "/var/lib/burrow"
"""The server's state folder, which systemd makes."""


CONFIG = "server.toml"
"""What a configuration file that only root may read is called for the service."""


HARDENED = (
    "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
    "LockPersonality=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service",
    "UMask=0077",
)
"""
What the server's unit takes away, beside what DynamicUser= does (systemd.exec(5)). Not
MemoryDenyWriteExecute=: cffi, under pyOpenSSL, may need such memory for its callbacks.
"""


@attr.frozen
class Job:
    """
    What is to run.

    @ivar role: "agent" or "server". @ivar words: the command behind C{burrow}.
    @ivar environment: variables that it needs.
    @ivar secret_config: a configuration file that only root may read; None: C{words} name it.
    """

    role: str
    words: Sequence[str]
    environment: Mapping[str, str]
    secret_config: Path | None = None

    @property
    def command(self) -> list[str]:
        """The whole command, by this Python: a service has no PATH to look in."""
        return [sys.executable, "-m", "burrow", *self.words]


def quoted(word: str) -> str:
    """A word in a unit (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting")."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(character in word for character in " \t'\"\\;") or not word else text


def systemd_unit(job: Job, version: int) -> str:
    """A unit. @param version: systemd's release."""
    reloads = version >= RELOADS_SINCE
    lines = ["[Unit]", f"Description=Burrow {job.role}", "Documentation=man:burrow(1)"]
    if job.role == "server":
        lines += ["Wants=network-online.target", "After=network-online.target"]
    lines += ["StartLimitIntervalSec=0", "", "[Service]", f"Type={'notify-reload' if reloads else 'notify'}"]
    command = " ".join(map(quoted, job.command))
    if job.secret_config is not None:  # systemd.exec(5), "Credentials"
        command += f" --config ${{CREDENTIALS_DIRECTORY}}/{CONFIG}"
        lines += [f"LoadCredential={CONFIG}:{str(job.secret_config).replace('%', '%%')}"]
    lines += [f"ExecStart={command}"]
    if not reloads:
        lines += ["ExecReload=/bin/kill -HUP $MAINPID"]
    for name, value in job.environment.items():
        lines += [f"Environment={quoted(f'{name}={value}').replace('$$', '$')}"]
    if job.role == "server":
        lines += ["DynamicUser=yes", "StateDirectory=burrow", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]
        lines += ["LimitNOFILE=65536", "Restart=always", "RestartSec=0.2", *HARDENED]
    else:
        # 77 and 78: it would be refused again, and a person has to look.
        lines += ["NoNewPrivileges=yes", "Restart=always", "RestartSec=2", "RestartPreventExitStatus=77 78"]
    lines += [f"WatchdogSec={WATCHDOG}", "TimeoutStopSec=40", "", "[Install]"]
    lines += [f"WantedBy={'multi-user.target' if job.role == 'server' else 'default.target'}"]
    return "\n".join(lines) + "\n"


def launchd_plist(job: Job, log: str) -> str:
    """A property list (launchd.plist(5)). @param log: the file for what it prints."""
    content = {
        "Label": LABELS[job.role],
        "ProgramArguments": job.command,
        "EnvironmentVariables": dict(job.environment),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 5,
        "ExitTimeOut": 40,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(content).decode()
