"""Tests of scripts/mutation.py."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts import load

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutation():
    return load("mutation")


def test_mutations_change_one_place_and_are_python(mutation):
    found = mutation.mutations("burrow/wire/windows.py")
    source = (mutation.ROOT / "burrow/wire/windows.py").read_text()
    assert len(found) > 20
    for one in found:
        changed = one.apply(source)
        assert changed != source
        assert source.startswith(changed[: one.start])
        ast.parse(changed)


def test_texts_and_log_calls_are_left_alone(mutation, tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text(
        '"""Words."""\nclass A:\n    def f(self, x):\n        """Do."""\n        self.log.warn(f"{x + 1}")\n'
        '        _log.info("said")\n'
        '        if x > 1:\n            raise ValueError("a" + "b")\n        return self.g(x)\n'
        '    def g(self, x):\n        """For others."""\n        raise NotImplementedError\n'
    )
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    found = {(one.was, one.new) for one in mutation.mutations("code.py")}
    assert found == {
        ("x > 1", "not (x > 1)"),
        (">", ">="),
        ("1", "2"),
        ('raise ValueError("a" + "b")', "pass"),
        ("return self.g(x)", "return None"),
    }


@pytest.mark.slow
def test_listed_survivors_are_in_the_code_and_have_a_reason(mutation):
    listed = mutation.listed()
    there = {one.key for file in {key[0] for key in listed} for one in mutation.mutations(file)}
    assert [key for key in listed if key not in there] == []
    assert all(len(why) > 10 for why in listed.values())


@pytest.mark.slow
def test_what_tests_must_notice_is_noticed():
    """Nothing is, where something imports the file before the mutation is in its place."""
    command = [sys.executable, "scripts/mutation.py", "burrow/wire/fair.py"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "2 of 2 mutations noticed" in ran.stdout, ran.stdout + ran.stderr
