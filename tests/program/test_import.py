"""C{import burrow}: what it loads, and what it has."""

import subprocess
import sys

import pytest

import burrow


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_nothing_and_installs_no_reactor():
    code = "import sys; before = set(sys.modules); import burrow; print(sorted(set(sys.modules) - before))"
    assert run(code) == "['burrow']\n"


def test_what_is_used_installs_no_reactor():
    names = ", ".join(f"burrow.{name}" for name in burrow.__all__)
    assert run(f"import sys, burrow; {names}; print('twisted.internet.reactor' in sys.modules)") == "False\n"


def test_all_names_are_there():
    assert set(burrow.__all__) <= set(dir(burrow))
    for name in burrow.__all__:
        assert getattr(burrow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'forwards'"):
        burrow.forwards  # noqa: B018


def test_the_stub_has_the_same_names():
    """Type checkers read burrow/__init__.pyi, which cannot be made of what is loaded late."""
    import ast
    from pathlib import Path

    tree = ast.parse(Path(burrow.__file__).with_suffix(".pyi").read_text())
    names = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    names |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    assert names == set(burrow.__all__)
