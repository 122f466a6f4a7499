"""Tests for C{burrow service}: what is written, and what systemd and launchd are asked."""

import os
import plistlib
import shutil
import socket
import subprocess
import sys

import pytest

from burrow.cli import notify as telling
from burrow.cli.main import main
from burrow.cli.services import command, managers
from burrow.cli.services.units import Job, launchd_plist, quoted, systemd_unit

TOKEN = "burrow_aaaaaaaaaa_" + "b" * 32

FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$*" in
    --version) echo "systemd 255 (255.1)";;
    *show*) cat {shown};;
    *restart*) test ! -e {broken} || {{ echo "Failed to connect to bus" >&2; exit 1; }};;
    print*) echo "state = running";;
esac
"""


class Place:
    """A home folder with a login and tunnels, and programs that only write down what they are asked."""

    def __init__(self, folder):
        self.folder = folder
        self.log, self.shown, self.broken = folder / "log", folder / "shown", folder / "broken"
        (folder / "bin").mkdir()
        for name in ("systemctl", "launchctl"):
            program = folder / "bin" / name
            program.write_text(FAKE.format(log=self.log, shown=self.shown, broken=self.broken))
            program.chmod(0o755)
        config = folder / "config" / "burrow"
        config.mkdir(parents=True)
        (config / "credentials.toml").write_text(f'server = "https://a.b"\ntoken = "{TOKEN}"\n')
        (config / "config.toml").write_text("[tunnels.blog]\nupstream = 3000\n")
        self.unit = folder / "config" / "systemd" / "user" / "burrow-agent.service"
        self.server = folder / "server.toml"
        self.server.write_text('domain = "example.com"\n')

    @property
    def asked(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = Place(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(managers, "SYSTEM_UNITS", tmp_path / "system")
    for name in list(os.environ):
        if name.startswith("BURROW_"):
            monkeypatch.delenv(name)
    return made


def run(capsys, *words):
    code = main(["service", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_agent(place, capsys):
    code, said = run(capsys, "status")
    assert (code, place.asked) == (1, [])
    assert "`burrow service install agent`" in said
    code, said = run(capsys, "install")
    assert code == 0
    assert "enable-linger" in said
    assert place.asked == [
        "systemctl --version",
        "systemctl --user daemon-reload",
        "systemctl --user enable burrow-agent.service",
        "systemctl --user restart burrow-agent.service",
    ]
    unit = place.unit.read_text()
    assert f"ExecStart={sys.executable} -m burrow start --quiet\n" in unit
    assert f"Environment=XDG_CONFIG_HOME={place.folder}/config\n" in unit
    assert "Type=notify-reload" in unit
    assert TOKEN not in unit
    place.shown.write_text("ActiveState=active\nUnitFileState=enabled\nStatusText=connected\n")
    assert run(capsys, "status") == (0, "The agent runs: connected; starts at login\n")
    place.shown.write_text("ActiveState=failed\nResult=exit-code\nUnitFileState=disabled\n")
    assert run(capsys, "status") == (
        1,
        "The agent does not run (failed, exit-code); does not start at login\n",
    )
    assert run(capsys, "uninstall")[0] == 0
    assert "systemctl --user disable --now burrow-agent.service" in place.asked
    assert not place.unit.exists()
    code, said = run(capsys, "uninstall")
    assert code == 78
    assert "is not there" in said


def test_server(place, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, said = run(capsys, "install", "server", "--config", place.server)
    assert code == 78
    assert "sudo" in said
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place.server.chmod(0o644)
    assert run(capsys, "install", "server", "--config", place.server)[0] == 0
    unit = (place.folder / "system" / "burrow-server.service").read_text()
    assert f"-m burrow server --state /var/lib/burrow --config {place.server}\n" in unit
    assert "systemctl enable burrow-server.service" in place.asked
    place.server.chmod(0o600)
    _, said = run(capsys, "install", "server", "--config", place.server, "--print")
    assert f"LoadCredential=server.toml:{place.server}\n" in said
    assert "--config ${CREDENTIALS_DIRECTORY}/server.toml\n" in said


def test_print_changes_nothing(place, capsys):
    code, said = run(capsys, "install", "--print")
    assert code == 0
    assert said.startswith("[Unit]\n")
    assert not place.unit.exists()
    assert place.asked == ["systemctl --version"]


def test_what_could_not_run_is_refused(place, capsys, monkeypatch):
    config = place.folder / "config" / "burrow"
    (config / "config.toml").write_text("")
    assert "no tunnels to open" in run(capsys, "install")[1]
    (config / "credentials.toml").unlink()
    monkeypatch.setenv("BURROW_SERVER", "https://a.b")
    monkeypatch.setenv("BURROW_TOKEN", TOKEN)
    code, said = run(capsys, "install")
    assert code == 78
    assert "burrow login" in said
    assert "Give --config FILE" in run(capsys, "install", "server")[1]
    place.server.write_text("domian = 'x'\n")
    assert "did you mean domain?" in run(capsys, "install", "server", "--config", place.server)[1]
    assert "cannot read" in run(capsys, "install", "server", "--config", place.folder / "none")[1]
    assert not place.unit.exists()


def test_without_systemd(place, capsys, monkeypatch):
    monkeypatch.setattr(managers.shutil, "which", lambda name: None)
    code, said = run(capsys, "install")
    assert code == 78
    assert "no systemd: have what starts programs here run `burrow start`" in said


def test_systemd_that_fails(place, capsys):
    place.broken.write_text("")
    code, said = run(capsys, "install")
    assert code == 1
    assert "restart burrow-agent.service` failed: Failed to connect to bus" in said


def test_launchd(place, capsys, monkeypatch):
    monkeypatch.setattr(command, "manager", lambda role, only_print=False: managers.manager(role, "darwin"))
    assert run(capsys, "install")[0] == 0
    path = place.folder / "Library" / "LaunchAgents" / "dev.burrow.agent.plist"
    content = plistlib.loads(path.read_bytes())
    assert content["ProgramArguments"] == [sys.executable, "-m", "burrow", "start", "--quiet"]
    assert TOKEN not in path.read_text()
    assert place.asked[-1] == f"launchctl bootstrap gui/{os.getuid()} {path}"
    assert run(capsys, "status") == (0, "The agent runs\n")
    assert run(capsys, "uninstall")[0] == 0
    assert not path.exists()


def test_words_are_quoted():
    assert quoted('a b$c%d\\"') == '"a b$$c%%d\\\\\\""'
    assert quoted("/x/y") == "/x/y"
    assert "&lt;" in launchd_plist(Job("agent", ["<"], {}), "/log")


@pytest.mark.parametrize("version", [252, 253])
@pytest.mark.parametrize("role", ["agent", "server"])
def test_systemd_takes_the_units(tmp_path, role, version):
    text = systemd_unit(Job(role, ["start", "--config", "/a b/c%d"], {"XDG_STATE_HOME": "/a b"}), version)
    assert ("ExecReload=" in text) == (version < 253)
    assert "\nWatchdogSec=60\n" in text
    if shutil.which("systemd-analyze") is None or version > 252:
        return  # what the machine has may be older than notify-reload
    unit = tmp_path / f"burrow-{role}.service"
    unit.write_text(text)
    scope = ["--user"] if role == "agent" else []
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    checked = subprocess.run(
        ["systemd-analyze", *scope, "--man=no", "verify", unit],
        capture_output=True,
        text=True,
        env=environment,
    )
    ours = [line for line in checked.stderr.splitlines() if f"burrow-{role}" in line]
    assert ours == []


def test_the_servers_unit_takes_away_what_it_does_not_need(tmp_path):
    """systemd-analyze gives a unit without this 9.6 of 10, UNSAFE, and DynamicUser= alone 8.5."""
    unit = tmp_path / "burrow-server.service"
    unit.write_text(systemd_unit(Job("server", ["server"], {}), 252))
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_agent_tells_systemd(tmp_path, monkeypatch):
    class Agent:
        server = "https://a.b"
        reactor = None
        on_event = []

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        telling.tell_systemd(Agent)
        Agent.on_event[0]("disconnected", "lost\n")
        telling.reload_told(lambda: None)
        told = [systemd.recv(1000) for _ in range(4)]
    assert told[:2] == [b"READY=1\nSTATUS=connecting to https://a.b", b"STATUS=lost\\n"]
    assert told[2].startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert told[3] == b"READY=1"
