"""Gets the suites from their registries, and runs their programs. Nothing of them enters the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

BUILDING = 1200
"""Seconds that getting and building one suite may take."""


class Missing(Exception):
    """A suite cannot be had here. The sentence says why, and what to do."""


def folder() -> Path:
    """Where the suites are kept: burrow-conformance in XDG_CACHE_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "burrow-conformance"


def program(name: str, package: str) -> str:
    """The path of a program of this machine."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"there is no {name} here: install {package}")
    return found


def build(command: Sequence[str | Path], where: Path, **env: str) -> str:
    """Run one command that gets or builds something. @return: its output. @raise Missing: it failed."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=where,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILDING,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} took more than {BUILDING} s; run it again") from None
    if done.returncode:
        raise Missing(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def go_programs(name: str, module: str, packages: Mapping[str, str]) -> tuple[Path, str]:
    """
    Programs of a Go module, its newest release.

    @param name: the folder's. @param packages: of each program, its package.
    @return: the folder of the programs, and the module's version.
    """
    go = program("go", "Go (Debian: golang-go)")
    where = folder() / name
    where.mkdir(parents=True, exist_ok=True)
    if not all((where / "bin" / each).exists() for each in packages):
        if not (where / "go.mod").exists():
            build([go, "mod", "init", "conformance"], where)
        build([go, "get", f"{module}@latest", *packages.values()], where)
        for each, package in packages.items():
            build([go, "build", "-o", where / "bin" / each, package], where)
    return where / "bin", build([go, "list", "-m", "-f", "{{.Version}}", module], where).strip()


def python_venv(name: str, *requirements: str, python: str = sys.executable) -> Path:
    """A virtual environment with packages of PyPI. @return: its interpreter."""
    where = folder() / name
    interpreter = where / "bin" / "python"
    done = where / "done"
    if not done.exists():
        where.parent.mkdir(parents=True, exist_ok=True)
        if python == sys.executable:
            build([python, "-m", "venv", where], where.parent)
        else:
            # The last release that makes environments for Python 2.7.
            maker = python_venv("virtualenv", "virtualenv<20.22")
            build([maker, "-m", "virtualenv", "-q", "-p", python, where], where.parent)
        build([interpreter, "-m", "pip", "install", "-q", *requirements], where)
        done.touch()
    return interpreter


def version_in(interpreter: Path, package: str) -> str:
    """The version of a package in a virtual environment."""
    shown = build([interpreter, "-m", "pip", "show", package], interpreter.parent)
    return next(line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))


def java_libraries(name: str, artifact: str) -> tuple[str, str]:
    """
    The newest release of an artifact of Maven Central, C{"group:name"}, with all that it needs.

    @return: the class path, and the version.
    """
    maven = program("mvn", "Maven (Debian: maven)")
    where = folder() / name
    where.mkdir(parents=True, exist_ok=True)
    group, artifact_name = artifact.split(":")
    libraries = where / "lib"
    if not any(libraries.glob(f"{artifact_name}-*.jar")):
        (where / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion>"
            "<groupId>conformance</groupId><artifactId>conformance</artifactId><version>1</version>"
            f"<dependencies><dependency><groupId>{group}</groupId><artifactId>{artifact_name}</artifactId>"
            "<version>LATEST</version></dependency></dependencies></project>"
        )
        build([maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={libraries}"], where)
    (jar,) = libraries.glob(f"{artifact_name}-*.jar")
    return f"{libraries}/*", jar.stem.removeprefix(artifact_name + "-")


def python2() -> str:
    """The path of a Python 2.7, which few systems still have."""
    found = shutil.which("python2.7")
    if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
        return found
    installed = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for interpreter in sorted(installed.glob("2.7.*/bin/python2.7")):
        return str(interpreter)
    raise Missing("there is no Python 2.7 here, which this suite is written in: pyenv install 2.7.18")


def with_names(hosts: Path, command: Sequence[str | Path]) -> list[str]:
    """
    A command for which the names of tunnels lead to this machine: most programs ask the system for
    C{t.localhost}, and few systems know that all names under localhost are its own. The command gets a file
    of hosts of its own, in a mount namespace.
    """
    alone = [program("unshare", "util-linux"), "--mount"]
    if os.geteuid():
        alone.append("--map-root-user")
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return [*alone, "sh", "-c", script, str(hosts), *map(str, command)]
