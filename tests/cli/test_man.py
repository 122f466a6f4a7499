"""Tests for L{burrow.cli.man}."""

import argparse
import re
import shutil
import subprocess

import pytest

from burrow.cli.main import main, make_parser
from burrow.cli.man import pages, term_of


@pytest.fixture(scope="module")
def made():
    return pages(make_parser())


def plain(text):
    """The text of a page, without its markup."""
    return " ".join(re.sub(r"\\f[BRI]|\\&", "", text).replace("\\-", "-").replace("\\e", "\\").split())


def leaves(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from leaves(one)


def test_each_command_and_option_is_there(made):
    parser = make_parser()
    commands = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction)).choices
    assert set(made) == {"burrow.1", *(f"burrow-{name}.1" for name in commands)}
    for name, command in commands.items():
        assert f"burrow {name}" in plain(made["burrow.1"])
        text = plain(made[f"burrow-{name}.1"])
        for one in leaves(command):
            assert one.prog in text, (name, one.prog)
            for action in one._actions:
                if not isinstance(action, argparse._SubParsersAction):
                    assert term_of(action) in text, (name, action)


def test_they_are_well_formed(made, tmp_path):
    assert shutil.which("mandoc"), "mandoc is not installed"
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    checked = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", *made], cwd=tmp_path, capture_output=True, text=True
    )
    assert checked.stdout + checked.stderr == ""
    shown = subprocess.run(
        ["mandoc", "-Tascii", "burrow-http.1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "--upstream-insecure" in re.sub(".\b", "", shown.stdout)


def test_a_fault_would_be_seen(tmp_path):
    (tmp_path / "x.1").write_text('.TH "X" "1" "2026-01-01"\n.SH NAME\nx \\- y\n.XX\n')
    checked = subprocess.run(["mandoc", "-Tlint", "-W", "warning", "x.1"], cwd=tmp_path, capture_output=True)
    assert checked.stdout


def test_help_writes_them(tmp_path, capsys):
    assert main(["help", "--man", str(tmp_path / "man1")]) == 0
    assert (tmp_path / "man1" / "burrow-token.1").exists()
    assert "pages into" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["help", "--man", str(tmp_path / "file")]) == 78
    assert "cannot write the manual pages" in capsys.readouterr().err
