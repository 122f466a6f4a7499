"""The two twistd commands: they run what burrow runs, and end by the same exit codes."""

import sys

import pytest

from tests.e2e.harness import Program, free_port, reply

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=")


@pytest.fixture
def file(world, tmp_path):
    """A configuration file of an agent with one tunnel, all but its token."""
    file = tmp_path / "client.toml"
    file.write_text(
        f"server = '{world.env['BURROW_SERVER']}'\nca-file = '{world.folder / 'state' / 'ca.pem'}'\n"
        f"[tunnels.daemon]\nupstream = 1\n"
    )
    return file


def client(file, **env):
    """C{twistd burrow-client}."""
    env = {"XDG_STATE_HOME": str(file.parent), **env}
    return Program(*TWISTD, "burrow-client", "--config", file, env=env)


def test_twistd_runs_the_same(make_world, upstream, tmp_path):
    hello = upstream(lambda handler: reply(handler, b"hello"))
    world = make_world()
    world.server.stop()
    arguments = ["--domain", "localhost", "--https", f"127.0.0.1:{world.https}", "--http", "off"]
    server = world.program(*TWISTD, "burrow-server", *arguments, "--state", world.folder / "state")
    server.line("serves https://localhost")
    file = tmp_path / "client.toml"
    file.write_text(
        f"server = '{world.env['BURROW_SERVER']}'\ntoken = '{world.env['BURROW_TOKEN']}'\n"
        f"ca-file = '{world.folder / 'state' / 'ca.pem'}'\n[tunnels.daemon]\nupstream = {hello.port}\n"
    )
    agent = world.program(*TWISTD, "burrow-client", "--config", file, env={"XDG_STATE_HOME": str(tmp_path)})
    agent.line("daemon.localhost")
    assert world.get("daemon.localhost")[::2] == (200, b"hello")


def test_an_agent_that_is_refused_ends_with_77(world, file):
    refused = client(file, BURROW_TOKEN="no_such")
    assert refused.wait() == 77, refused.output
    assert "the token is unknown" in refused.output
    # What the transport's library says of the connection that it drops is nothing for people.
    assert "dropping connection" not in refused.output
    assert "Traceback" not in refused.output


def test_wrong_values_end_with_78(file, tmp_path):
    file.write_text(file.read_text() + "[tunnels.second]\nupstream = 99999\n")
    agent = client(file, BURROW_TOKEN="no_such")
    assert agent.wait() == 78, agent.output
    assert "99999" in agent.output
    for wrong, word in (
        (("--tls", "files"), "--cert-file"),
        (("--max-tunnels", "many"), "--max-tunnels"),
        (("--config", "none.toml"), "none.toml"),
    ):
        server = Program(*TWISTD, "burrow-server", "--state", tmp_path / "state", *wrong)
        assert server.wait() == 78, server.output
        assert word in server.output
        assert "Traceback" not in server.output


def test_a_server_that_cannot_listen_ends_with_78(world, tmp_path):
    arguments = ["--https", f"127.0.0.1:{world.https}", "--http", f"127.0.0.1:{free_port()}"]
    server = Program(*TWISTD, "burrow-server", "--state", tmp_path / "state", *arguments)
    assert server.wait() == 78, server.output
    assert "choose another" in server.output


@pytest.mark.parametrize("command", ["burrow-server", "burrow-client"])
def test_an_option_that_is_none_ends_with_a_line(command):
    wrong = Program(*TWISTD, command, "--no-such")
    assert wrong.wait() == 1
    assert "no-such" in wrong.output
    assert "Traceback" not in wrong.output
