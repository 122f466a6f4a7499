"""Burrow with the oldest releases of what it needs, as setup.cfg allows them."""

import configparser
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def oldest():
    """What setup.cfg requires, each in the oldest release that it allows."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    required = config["options"]["install_requires"].split("\n")
    return [each.replace(">=", "==", 1) for each in required if each]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_request_over_tls_passes_with_the_oldest_releases_that_are_allowed(tmp_path):
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    subprocess.run([*pip, "install", "--quiet", *oldest()], check=True, timeout=400)
    demo = (python, "-m", "burrow.cli.main", "demo", "--check")
    ran = subprocess.run(
        [*demo, "--state", tmp_path / "state", "--https", "127.0.0.1:0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "answers 200 OK" in ran.stdout
