"""
Wheels of Burrow and of docs/examples/burrow-redis in an empty environment, with a real Redis; and what an
agent and a server say to each other of which only one has the plugin.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e import harness
from tests.e2e.harness import Program, World, wait_for
from tests.programs import program
from tests.redis import RedisServer

ROOT = Path(__file__).parents[2]
CLEAN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run(*arguments, cwd=None, code=0):
    """Run a program to its end; what it printed, on both outputs."""
    ran = subprocess.run(
        [str(each) for each in arguments], cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def make_venv(folder, *installed, editable=()):
    """
    An environment with these packages, and what Burrow depends on from the tests' own. @return: its programs.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    install = (*pip, "install", "--no-index", "--no-deps", "--no-build-isolation")
    run(*install, *installed)
    site = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for source in editable:  # setuptools is there now
        run(*install, "-e", source)
    return folder / "bin"


class Environment:
    """
    A new environment with the two wheels alone. What Burrow depends on comes from the environment of the
    tests, so that no network is needed.
    """

    def __init__(self, folder):
        self.folder = folder
        sources = folder / "sources"
        kept = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        for name in ("burrow", "twisted", "docs"):
            shutil.copytree(ROOT / name, sources / name, ignore=kept)
        for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, sources)
        self.sources = sources
        wheels = folder / "wheels"
        for source in (sources, sources / "docs" / "examples" / "burrow-redis"):
            run(
                *(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"),
                *("--wheel-dir", wheels, source),
            )
        self.wheels = sorted(wheels.glob("*.whl"))
        self.bin = make_venv(folder / "venv", *self.wheels)
        site = sysconfig.get_path("purelib", "venv", {"base": str(folder / "venv")})
        self.plugins = Path(site) / "twisted" / "plugins"

    def burrow(self, *arguments, env=None, stdin=None, files=None):
        """In the place of the harness's C{burrow}."""
        env = {"PYTHONPATH": "", **(env or {})}
        return Program(self.bin / "burrow", *arguments, env=env, stdin=stdin, cwd=self.folder)

    def shown(self, *arguments, code=0):
        return run(self.bin / "burrow", *arguments, cwd=self.folder, code=code)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def with_plugin(environment, monkeypatch):
    """Programs that are started from now on have the plugin."""
    monkeypatch.setattr(harness, "burrow", environment.burrow)


@pytest.fixture(scope="module")
def equipped(environment, tmp_path_factory):
    """A server that has the plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "burrow", environment.burrow)
        world = World(tmp_path_factory.mktemp("equipped"))
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


@pytest.fixture(scope="module")
def redis():
    server = RedisServer()
    yield server
    server.stop()


def redis_cli(port, *arguments, stdin=None):
    """What redis-cli prints."""
    ran = subprocess.run(
        [program("redis-cli"), "-p", str(port), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ran.stdout + ran.stderr


def port_of(agent):
    assert agent.url.startswith("redis://"), agent.url
    return int(agent.url.rpartition(":")[2])


def test_only_the_wheels_are_used(environment):
    where = run(
        environment.bin / "python", "-c", "import burrow; print(burrow.__file__)", cwd=environment.folder
    )
    assert where.startswith(str(environment.folder / "venv"))
    shown = environment.shown("protocols")
    assert "burrow-redis 1.0" in shown
    assert {line.split()[0] for line in shown.splitlines()} >= {"http", "tcp", "redis", "lines"}
    assert "--readonly" in environment.shown("redis", "--help")
    assert "redis" in environment.shown("--help")


def test_read_only_redis(environment, equipped, redis, with_plugin):
    redis_cli(redis.port, "SET", "greeting", "hello")
    agent = equipped.agent("redis", redis.port, "--readonly", "--name", "cache", "--inspect", "0")
    port = port_of(agent)
    assert redis_cli(port, "GET", "greeting") == "hello\n"
    assert "READONLY SET is refused" in redis_cli(port, "SET", "greeting", "bye")
    assert "READONLY EVAL is refused" in redis_cli(port, "EVAL", "return 1", "0")
    lines = redis_cli(port, stdin="MULTI\nGET greeting\nDEL greeting\nEXEC\nGET greeting\n")
    assert "READONLY DEL is refused" in lines
    assert "EXECABORT" in lines
    assert lines.rstrip().endswith("hello")
    assert redis_cli(port, "-3", "GET", "greeting") == "hello\n"
    with socket.create_connection(("127.0.0.1", port), 30) as visitor, visitor.makefile("rb") as answers:
        pings = b"*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\nSET a b\r\n" * 500
        visitor.sendall(pings)
        for _ in range(500):
            assert [answers.readline() for _ in range(2)] == [b"$5\r\n", b"hello\r\n"]
            assert answers.readline().startswith(b"-READONLY SET")
    told = wait_for(
        lambda: [each for each in agent.events("request") if each["method"] == "EVAL"], "the event of EVAL"
    )[0]
    assert (told["protocol"], told["path"]) == ("redis", "return 1")
    assert told["error"].startswith("READONLY EVAL is refused")
    assert redis_cli(redis.port, "DBSIZE") == "1\n"


def test_what_the_kind_counts_is_told(environment, equipped, redis, with_plugin):
    agent = equipped.agent("redis", redis.port, "--readonly", "--name", "counted", "--no-inspect")
    arguments = ["redis", redis.port, "--readonly", "--name", "people", "--no-inspect"]
    people = environment.burrow(*arguments, env=equipped.env)
    equipped.started.append(people)
    port = int(people.line("redis://[^ ]*:([0-9]+)")[1])
    for one in (port_of(agent), port):
        redis_cli(one, "GET", "a")
        redis_cli(one, "SET", "a", "b")
    agent.program.kill(signal.SIGTERM)
    assert agent.program.wait() == 0
    assert agent.events("counts")[-1] == {
        "event": "counts",
        "kind": "redis",
        "counts": {"passed": 1, "refused": 1},
    }
    people.kill(signal.SIGTERM)
    assert people.wait() == 0
    assert people.lines[-1] == "redis: 1 passed, 1 refused"


def test_commands_in_the_inspector(equipped, redis, with_plugin):
    port = harness.free_port()
    agent = equipped.agent("redis", redis.port, "--name", "shown", "--readonly", "--inspect", port)
    redis_cli(port_of(agent), "HGETALL", "nothing")

    def told():
        with urlopen(f"http://127.0.0.1:{port}/api/requests", timeout=10) as answer:
            return b'"HGETALL"' in answer.read()

    wait_for(told, "the command in the inspector")
    with urlopen(f"http://127.0.0.1:{port}/api/status", timeout=10) as answer:
        assert json.load(answer)["counts"] == {"redis": {"passed": 1}}


def test_configuration_file(equipped, redis, with_plugin, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(f'[tunnels.filed]\nkind = "redis"\nupstream = {redis.port}\nreadonly = true\n')
    agent = equipped.agent("start", "--config", file)
    assert "READONLY SET is refused" in redis_cli(port_of(agent), "SET", "a", "b")


def test_broken_plugin_beside_it(environment):
    broken = environment.plugins / "burrow_broken_plugins.py"
    broken.write_text("import burrow_of_yesterday\n")
    try:
        shown = environment.shown("protocols", code=1)
        assert "twisted.plugins.burrow_broken_plugins is not used" in shown
        assert "No module named 'burrow_of_yesterday'" in shown
        assert "Traceback" not in shown
        assert "burrow-redis 1.0" in shown
        assert "--readonly" in environment.shown("redis", "--help")
    finally:
        broken.unlink()


def test_server_that_lacks_the_kind(world, with_plugin):
    agent = world.agent("redis", 6379)
    assert agent.program.wait() == 77
    assert "the server has no tunnels of kind 'redis'" in agent.program.output
    assert "has to install burrow-redis" in agent.program.output


def test_agent_that_lacks_the_kind(equipped, redis):
    agent = equipped.agent("tcp", redis.port, "--as", "redis", "--name", "plain")
    port = port_of(agent)
    assert redis_cli(port, "SET", "by", "hand") == "OK\n"
    assert redis_cli(port, "DEL", "by") == "1\n"


def test_the_sdist_has_the_examples(environment):
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    run(sys.executable, "-c", build, cwd=environment.sources)
    (made,) = (environment.sources / "dist").glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "burrow_redis/kind.py", "twisted/plugins/burrow_redis_plugins.py"):
        assert f"docs/examples/burrow-redis/{name}" in names


def test_plugin_that_is_installed_for_development(environment, tmp_path):
    """As its author does, by `pip install -e`: Twisted looks for plugins on the path alone."""
    burrow = next(wheel for wheel in environment.wheels if "tunnel" in wheel.name)
    source = tmp_path / "burrow-redis"
    shutil.copytree(environment.sources / "docs" / "examples" / "burrow-redis", source)
    bin = make_venv(tmp_path / "venv", burrow, editable=[source])
    assert "burrow-redis 1.0" in run(bin / "burrow", "protocols", cwd=tmp_path)
