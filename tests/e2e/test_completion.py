"""Completion by the Tab key, in real shells on a terminal."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

TAB = "\t"
PROMPT = "ready> "
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "PS1='{prompt}'; source <(burrow completion bash)"),
    "zsh": (
        ["-f", "-i"],
        "PROMPT='{prompt}'; autoload -Uz compinit; compinit -u; source <(burrow completion zsh)",
    ),
    "fish": (
        ["--no-config", "-i"],
        "function fish_prompt; echo -n '{prompt}'; end; burrow completion fish | source",
    ),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a command C{burrow}, a file of two tunnels, and a store of one token."""
    folder = tmp_path_factory.mktemp("home")
    command = folder / "bin" / "burrow"
    command.parent.mkdir()
    root = Path(__file__).parents[2]
    command.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m burrow.cli.main "$@"\n')
    command.chmod(0o755)
    (folder / "config" / "burrow").mkdir(parents=True)
    (folder / "config" / "burrow" / "config.toml").write_text(
        "[tunnels.workshop]\nupstream = 3000\n[tunnels.workbench]\nupstream = 3001\n"
    )
    subprocess.run([command, "token", "create", "marianne", "--state", folder / "state"], check=True)
    return folder


def start(shell, home):
    arguments, setup = SHELLS[shell]
    env = {
        "HOME": str(home),
        "PATH": f"{home}/bin:/usr/bin:/bin",
        "TERM": "dumb" if shell != "fish" else "xterm",
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "BURROW_STATE": str(home / "state"),
        "LANG": "C.UTF-8",
    }
    assert shutil.which(shell), f"{shell} is not installed"
    terminal = pexpect.spawn(shell, arguments, env=env, encoding="utf-8", timeout=60, dimensions=(50, 160))
    terminal.sendline(setup.format(prompt="re''ady> "))
    terminal.expect_exact(PROMPT)
    return terminal


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("burrow vers", "burrow version"),
        ("burrow token rev", "burrow token revoke"),
        ("burrow http 3000 --upstream-i", "--upstream-insecure"),
        ("burrow token create ann --role vi", "--role viewer"),
        ("burrow start works", "burrow start workshop"),
        ("burrow token rotate mar", "burrow token rotate marianne"),
    ],
)
def test_tab_completes(shell, home, typed, completed):
    if "mar" in typed and not (home / "state").exists():
        assert (
            pexpect.run(f"{home}/bin/burrow token create marianne --state {home}/state", withexitstatus=True)[
                1
            ]
            == 0
        )
    terminal = start(shell, home)
    try:
        terminal.send(typed + TAB)
        terminal.expect_exact(completed)
        terminal.sendcontrol("c")
    finally:
        with contextlib.suppress(pexpect.ExceptionPexpect):  # it looks for the end once, soon after SIGKILL
            terminal.close(force=True)
