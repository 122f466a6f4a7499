"""docs/plugins.md shows the code of docs/examples/burrow-redis, whose own tests pass."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "burrow-redis"
BLOCKS = re.findall(
    r"<!-- (\S+) -->\n```\w+\n(.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL
)


def test_blocks_are_found():
    assert len(BLOCKS) >= 6
    shown = dict(BLOCKS)
    assert shown["burrow_redis/lines.py"] == (EXAMPLE / "burrow_redis" / "lines.py").read_text()


@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_code_is_the_package_s(name, block):
    assert block in (EXAMPLE / name).read_text()


def test_tests_of_the_example():
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONPATH": f"{EXAMPLE}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_kind_of_thirty_lines():
    assert len((EXAMPLE / "burrow_redis" / "lines.py").read_text().splitlines()) <= 33
