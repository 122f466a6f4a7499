"""The commands for tokens and names, beside a server and agents that run."""

import json

import pytest

from tests.e2e.harness import burrow, reply


@pytest.fixture
def hello(upstream):
    return upstream(lambda handler: reply(handler, b"hello"))


@pytest.fixture
def command(world):
    """Runs a command on the server's store: its lines, or its lines and exit code if it fails."""

    def run(*arguments):
        program = burrow(*arguments, "--state", world.folder / "state")
        code = program.wait()
        return program.lines if code == 0 else (code, program.output)

    return run


def rows(lines):
    return {line.split()[0]: line.split()[1:] for line in lines[1:]}


def test_role_of_a_token_is_set_and_changes_are_kept(world, hello, command):
    token = {"BURROW_TOKEN": command("token", "create", "changing")[-1]}
    agent = world.agent("http", hello.port, "--name", "changing-one", **token)
    assert world.get(agent.host)[2] == b"hello"
    assert command("token", "set", "changing", "--role", "viewer") == ["Changed changing: role=viewer"]
    assert rows(command("token", "list"))["changing"][0] == "viewer"
    assert agent.program.wait() == 77
    assert "role viewer" in agent.program.output
    assert command("token", "rotate", "changing")[-1] != token["BURROW_TOKEN"]
    assert command("names", "release", "changing-one") == ["Released changing-one"]
    admin = command("token", "create", "looking", "--role", "admin")[-1]
    audit = world.get("localhost", "/_burrow/api/v1/audit?limit=5", Authorization=f"Bearer {admin}")[2]
    assert [(one["action"], one["target"], one["result"]) for one in json.loads(audit)["items"]] == [
        ("token.create", "looking", "role=admin"),
        ("name.release", "changing-one", "ok"),
        ("token.rotate", "changing", "ok"),
        ("token.change", "changing", "role=viewer"),
        ("token.create", "changing", "role=agent"),
    ]


def test_limits_of_a_token_are_set_and_count_at_once(world, hello, command):
    token = {"BURROW_TOKEN": command("token", "create", "limited", "--names", "1", "--ports", "0")[-1]}
    assert "1 name, 0 ports" in " ".join(rows(command("token", "list"))["limited"])
    agent = world.agent("http", hello.port, "--name", "limited-one", **token)
    assert world.get(agent.host)[2] == b"hello"
    for arguments, what in (
        (("http", hello.port), "1 name"),
        (("tcp", hello.port, "--name", "limited-one"), "0 ports"),
    ):
        refused = world.agent(*arguments, **token)
        assert refused.program.wait() == 77
        error = refused.events("error")[0]
        assert error["error"] == "TooManyTunnels"
        assert f"owns {what}, as many as it may" in error["message"]
    changed = command("token", "set", "limited", "--names", "default", "--tunnels", "2", "--sessions", "2")
    assert changed == ["Changed limited: names=default, tunnels=2, sessions=2"]
    assert "0 ports, 2 tunnels, 2 sessions" in " ".join(rows(command("token", "list"))["limited"])
    second = world.agent("http", hello.port, "--name", "limited-two", **token)
    assert world.get(second.host)[2] == b"hello"
    third = world.agent("http", hello.port, "--name", "limited-three", "--no-retry", **token)
    assert third.program.wait() == 69
    assert "2 agents connected" in third.program.output
    for arguments, code in ((("nobody", "--names", "1"), 78), (("limited",), 2)):
        assert command("token", "set", *arguments)[0] == code
    for wrong in ("-1", "many", "", "1.5"):
        assert command("token", "set", "limited", f"--names={wrong}")[0] == 78


def test_rotated_token_keeps_its_names_and_ports(world, hello, command):
    old = command("token", "create", "rotated", "--names", "7")[-1]
    url = world.agent("http", hello.port, BURROW_TOKEN=old).url
    running = world.agent("tcp", hello.port, BURROW_TOKEN=old)
    port = running.url
    new = command("token", "rotate", "rotated")[-1]
    assert new != old
    assert running.program.wait(15) == 77
    assert "another secret" in running.events("error")[0]["message"]
    refused = world.agent("http", hello.port, BURROW_TOKEN=old)
    assert refused.program.wait() == 77
    assert world.agent("http", hello.port, BURROW_TOKEN=new).url == url
    assert world.agent("tcp", hello.port, BURROW_TOKEN=new).url == port
    assert "7 names" in " ".join(rows(command("token", "list"))["rotated"])
    assert command("token", "rotate", "nobody")[0] == 78


def test_names_are_listed_released_and_transferred(world, hello, command):
    one = {"BURROW_TOKEN": command("token", "create", "one")[-1]}
    two = {"BURROW_TOKEN": command("token", "create", "two")[-1]}
    blog = world.agent("http", hello.port, "--name", "names-blog", **one)
    shop = world.agent("http", hello.port, "--name", "names-shop", **one)
    for agent in (blog, shop):
        assert world.get(agent.host)[2] == b"hello"
    assert rows(command("names", "list"))["names-blog"][:3] == ["http", "one", "open"]
    for arguments in (("release", "names-blog"), ("transfer", "names-shop", "two")):
        code, output = command("names", *arguments)
        assert (code, "--force" in output) == (78, True)
    assert command("names", "transfer", "names-shop", "one") == ["names-shop is one's already"]
    assert command("names", "release", "names-blog", "--force") == ["Released names-blog"]
    assert command("names", "transfer", "names-shop", "two", "--force") == ["names-shop is two's now"]
    for agent, why in ((blog, "released it"), (shop, "gave it to another token")):
        assert agent.program.wait() == 77
        assert why in agent.events("error")[0]["message"]
    assert "names-blog" not in rows(command("names", "list"))
    assert rows(command("names", "list"))["names-shop"][1] == "two"
    refused = world.agent("http", hello.port, "--name", "names-shop", **one)
    assert refused.program.wait() == 77
    for name in ("names-blog", "names-shop"):
        assert world.get(world.agent("http", hello.port, "--name", name, **two).host)[2] == b"hello"
    for arguments in (
        ("release", "nobodys"),
        ("transfer", "nobodys", "two"),
        ("transfer", "names-blog", "nobody"),
    ):
        assert command("names", *arguments)[0] == 78
