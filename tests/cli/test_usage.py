"""What is wrong on the command line or in a file is told in one line, with exit code 2 or 78."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from burrow.certificates.files import read_files
from burrow.cli.main import main, make_parser
from burrow.errors import ConfigError
from burrow.options import read_toml
from burrow.store.base import OverQuota
from burrow.wording import count_of
from tests.files import make_certificate

AGENT = ["--server", "https://localhost:9", "--token", "t", "--no-retry"]
FILES = ["server", "--tls", "files", "--key-file", os.devnull]


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))


def outcome(capsys, *arguments):
    """Exit code and what was said."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    "arguments", [[], ["help"], ["--help"], ["help", "token"], ["version"], ["help", "http"]]
)
def test_questions_are_answered(capsys, arguments):
    code, out, err = outcome(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "burrow" in out


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("login URL --ca-file F -", {"server": "URL", "token": "-", "ca_file": Path("F").absolute()}),
        ("login --insecure URL --ca-file F t", {"server": "URL", "token": "t", "insecure": True}),
        ("login URL --insecure", {"server": "URL", "token": None, "insecure": True}),
        ("start a --no-retry b", {"names": ["a", "b"], "no_retry": True}),
        ("up 3000 --name x 4000", {"upstreams": ["3000", "4000"], "name": "x"}),
        ("run --name x -- app --name y", {"command": ["app", "--name", "y"], "name": "x"}),
    ],
)
def test_options_may_stand_between_arguments(arguments, given):
    words = arguments.split()
    parsed = vars(make_parser(words[0]).read(words))
    assert {key: parsed[key] for key in given} == given


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["htpp", "3000"], "did you mean http?"),
        (["help", "htpp"], "did you mean http?"),
        (["token", "crate"], 'did you mean "token create"?'),
        (["http", "3000", "--nam", "x"], "did you mean --name?"),
        (["http", "3000", "--sever=x"], "did you mean --server?"),
        (["server", "reloda"], 'there is no "server reloda"; did you mean "server reload"?'),
        (["server", "stop"], 'there is no "server stop": there is "server reload"'),
        (["http", "3000", "4000"], "one argument too many"),
        (["http"], "UPSTREAM is missing: what to open: PORT, HOST:PORT, a URL or unix:/PATH"),
        (["login", "u", "--ca-file"], "--ca-file needs a value: write --ca-file FILE"),
        (["login", "u", "--token", "x"], "write the token behind the URL"),
        (["login", "https://h", "t", "--token-file", "/x"], "there is a token and a token file"),
        (["config"], 'which one? There is "config check"'),
        (["config", "check"], 'which one? There is "config check agent", "config check server"'),
        (["config", "check", "--all"], "there is no option --all here: burrow config check agent and"),
        (["config", "check", "agnt"], 'did you mean "config check agent"?'),
        (["tunnels", "foo"], 'there is no "tunnels foo": there is "tunnels list", "tunnels close"'),
        (["connect", "box"], "one of --listen [HOST:]PORT, --stdio or --socks [HOST:]PORT is missing"),
        (["connect", "--stdio"], "which tunnel? Give its NAME"),
        (["connect", "box", "--socks", "1080"], "leave box out"),
        (["share"], "which tunnel? Write its name or its URL"),
        (["share", "x", "--show-key"], "leave the name out"),
        (["up", "3000", "4000", "--name", "x"], "--name is for one upstream"),
        (["token", "set", "x"], "nothing to set"),
        (["server", "--client-ca", "x"], "--client-ca is an option of tunnels, which the agent opens: give"),
        (["server", "--port", "5"], "as in burrow tcp UPSTREAM --port"),
        (["server", "--no-retry"], "--no-retry is an option of agents: give it to burrow http, burrow start"),
        (["server", "--name", "x"], "here: burrow http, burrow files, burrow tcp and others have it"),
        (["http", "3000", "--tcp-ports", "1-2"], "no option --tcp-ports here: burrow server has it"),
        (["up", "3000", "--tls", "acme"], "no option --tls here: burrow server has it"),
        (["tunnels", "--basic-auth", "x"], "here: burrow files and burrow http have it"),
        (["doctor", "--server", "x"], "here: burrow doctor agent has it"),
        (["http", "3000", "--state", "x"], "here: burrow server, burrow up, burrow demo and others have it"),
        (["3000"], 'there is no command "3000": write `burrow http 3000`'),
        (["authtoken", "x"], "write `burrow login URL -`"),
        (["http", "3000", "--subdomain", "blog"], "there is no option --subdomain: write --name NAME"),
        (["http", "3000", "--hostname=blog.example.com"], "write --name NAME"),
        (["tcp", "3000", "--domain", "x"], "any domain whose DNS leads to the server reaches its port"),
        (["http", "--url", "x", "3000"], "write --name NAME"),
        (["tcp", "22", "--authtoken", "x"], "write --token TOKEN"),
        (["tcp", "22", "--remote-port", "80"], "write --port PORT"),
        (["http", "3000", "--remote-port", "80"], "there is no option --remote-port ("),
        (
            ["tcp", "22", "--policy", "x"],
            "of kind tcp have no option --policy: write burrow files or burrow http, which have it, or",
        ),
        (
            ["udp", "53", "--route=/a=1"],
            "no option --route: write burrow http, which has it, or leave it out",
        ),
        (["names", "list", "--dns", "x"], "there is no option --dns"),
        (
            ["start", "--port", "80"],
            "--port is of one tunnel: write port into its table",
        ),
        (["start", "--name", "x"], "--name is of one tunnel: write name into its table"),
        (["server", "--authtoken=x"], "there is no option --authtoken ("),
        (["--json", "http", "3000"], "options go behind the command"),
        (["http", "3000", "--token", "\udcff"], "is not UTF-8"),
        (["\udcff"], "is not UTF-8"),
        (["http", "\udcff3000"], "is not UTF-8"),
        (["token", "list", "--state", "/\udcff"], "is not UTF-8"),
    ],
)
def test_wrong_usage(capsys, arguments, words):
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["server", "--workers", "many"], '--workers "many" is not possible: write a whole number above 0'),
        (["server", "--workers", ""], "whole number"),
        (["tcp", "3000", "--port", "x"], "1 to 65535"),
        (["tcp", "3000", "--port", "70000"], "1 to 65535"),
        (["token", "list", "--state", ""], "write a path"),
        (["token", "create", "x", "--role", "agnt"], "did you mean agent?"),
        (["server", "--config", ""], "write a path"),
        (["token", "list", "--config", ""], "write a path"),
        (["start", "--config", ""], "write a path"),
        (["token", "create", "x", "--names", "-1"], "write a whole number, 0 or more"),
        (["server", "--token-names", "x"], "write a whole number above 0"),
        (["login", "foo", "x"], "write it as https://example.com"),
        (["http", "3000", "--server", "foo"], "write it as https://example.com"),
        (["http", "abc", *AGENT], "'abc' is no upstream, having no port: write a port, HOST:PORT"),
        (["http", "abc", *AGENT], "or http://abc for its own port"),
        (["http", "./site/index.html", *AGENT], "for a folder or file: burrow files ./site/index.html"),
        (["tcp", "abc", *AGENT], "write a port, HOST:PORT, tcp://HOST:PORT"),
        (["http", "5000-5003", *AGENT], "'5000-5003' is several ports, and an upstream here has one"),
        (["http", "lan:5000-5003", *AGENT], "'lan:5000-5003' is several ports"),
        (["http", "https://lan:5000-5003", *AGENT], "'https://lan:5000-5003' is several ports"),
        (["http", "5000", "--route", "/api=5000-5003", *AGENT], "'5000-5003' is several ports"),
        (["tls", "5000-5003", *AGENT], "'5000-5003' is several ports"),
        (["tcp", "tcp://lan:5003-5000", *AGENT], "the lower port comes first"),
        (["http", "", *AGENT], "the upstream is empty: write a port"),
        (["server", "--state", __file__], "is no folder"),
        (["token", "create", "x", "--state", __file__], "is no folder"),
        (["server", "--log-level", "inof"], "did you mean info?"),
        (["server", "--tcp-ports", "5-2"], "the lower port comes first: write 2-5"),
        (["server", "--free-after", "x"], "write a number of days, 1 or more"),
        (["server", "--domain", "https://example.com/"], "write the domain's name alone"),
        (["http", "3000", "--rate-limit", "0/m"], "that would let no request through: write 1 or more"),
        (["http", "3000", "--circuit-breaker", "0/5s"], "both numbers are 1 or more"),
        (["http", "3000", "--policy", 'path = "/a", x'], "after a key in a key/value pair (at its end)"),
        (["http", "3000", "--policy", " { resp ond = 3 } "], "key/value pair (at character 9)"),
        (["http", "3000", "--domain", "*.x"], "a domain is one host: write --name '*.x' for all hosts"),
        (["http", "3000", "--domain", "*.example.org"], "or a --domain for each host of your own"),
        (["server", "--domain", "a..b"], "domain name"),
        (["server", "--trusted-proxy", "x"], "10.0.0.0/8"),
        (["server", "--trusted-proxy", "127.0.0.1/8"], "write 127.0.0.0/8 for the network, or 127.0.0.1"),
        (["server", "--trusted-header", "a b"], "no field that proxies set"),
        (["server", "--domain", "1.2.3.4"], "write a domain name"),
        (["server", "--domain", "Ünï.example"], "xn--"),
        (["server", "--public-url", "ftp://localhost"], "must look like https://localhost"),
        (["server", "--store", "mysql://x"], "--store must look like redis://"),
        (["server", "--node", "nohost:1"], "write an IP address"),
        ([*FILES, "--cert-file", "/nowhere"], "cannot read /nowhere"),
        ([*FILES, "--cert-file", "/"], "cannot read /: Is a directory"),
        ([*FILES, "--cert-file", os.devnull], "/dev/null holds no certificate in PEM form"),
        (["http", "3000", "--name", "", *AGENT], "--name"),
        (["http", "3000", "--name", "x" * 70_000, *AGENT], "(70000 characters) is no possible name"),
        (["http", "x" * 70_000, *AGENT], "too long"),
        (["http", "http://[", *AGENT], "upstream"),
        (["http", "3000", "--stop-grace", "soon", *AGENT], "or 0"),
        (["http", "3000", "--server", "https://[", "--token", "t"], "server address"),
        (["http", "3000", "--server", "https://a\x01b", "--token", "t"], "server address"),
        (["token", "create", "a\nb"], "is no token name"),
        (["token", "create", "a\x1b[31m"], "is no token name"),
        (["token", "create", ""], "is no token name"),
    ],
)
def test_impossible_values(capsys, arguments, words, monkeypatch):
    # Before the reactor: what only shows when it runs is for the tests with processes.
    monkeypatch.setattr("burrow.cli.tunnel.run", lambda main, **options: _run(main))
    monkeypatch.setattr("burrow.cli.serve.run", lambda main, **options: _run(main))
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (78, "")
    assert words in err
    assert err.count("\n") == 1
    assert len(err) < 400


def _run(main):
    """Run a coroutine that fails before it waits."""
    main(None).send(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[tunnels.a]\nupstream = 1\nname = "x"\n[tunnels.b]\nupstream = 2\nname = "X"',
            "[tunnels.b]: [tunnels.a] has",
        ),
        ('[tunnels.a]\nupstream = 1\n[tunnels.b]\nupstream = 2\nname = "a"', "[tunnels.b]: [tunnels.a] has"),
        ("[tunnels.a]\nupstream = true", "upstream = true is not possible: write a port"),
        ("[tunnels.a]\nupstream = 1.5", "upstream = 1.5"),
        ('[tunnels.a]\nkind = "tcp"\nupstream = 1\nport = "x"', 'port = "x" is not possible'),
        ('[tunnels.a]\nkind = "tcp"\nupstream = 1\nport = true', "port = true"),
        ("[tunnels.a]\nupstream = 1\nport = 80", "have no option port"),
        ("[tunnels.a]\nupsteam = 1", "did you mean upstream?"),
        ('[tunnels.a]\nkind = "htp"\nupstream = 1', "did you mean http?"),
        ("[tunnels.a]\nname = 5\nupstream = 1", "write a text"),
        ('tokne = "x"', "did you mean token?"),
        ("[tunnel.a]\nupstream = 1", "did you mean tunnels?"),
        (
            '[tunnels.a]\nupstream = 1\n[[tunnels.a.policy]]\npath = ["/b"]\nrespond = true',
            'policy = { path = ["/b"], respond = true } is not possible: respond: write a text',
        ),
        ("[tunnels.a]\nupstream = 1\nallow = {a = 1}", "allow = { a = 1 } is not possible: write a text, or"),
        ("[tunnels.a]\nupstream = 1\nallow = [5]", "allow = 5 is not possible: write texts"),
        ('[tunnels.""]\nupstream = 1', "'' is no possible name"),
        ("tunnels = 5", "write [tunnels.NAME] tables"),
        ("server = 5", "server = 5 is not possible: write a text"),
        ("a = = 1", "line 1"),
    ],
)
def test_wrong_files(capsys, tmp_path, text, words):
    file = tmp_path / "agent.toml"
    file.write_text(text)
    code, _, err = outcome(capsys, "start", "--config", file)
    assert code == 78
    assert words in err
    assert str(file) in err
    assert err.count("\n") == 1


def test_file_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbfworkers = 2\n")
    assert read_toml(file) == {"workers": 2}


@pytest.mark.parametrize("command", [["token", "list"], ["token", "revoke", "x"], ["certs"], ["events"]])
def test_looking_creates_nothing(capsys, tmp_path, command):
    code, _, err = outcome(capsys, *command, "--state", tmp_path / "typo")
    assert code == 78
    assert "no server has its state" in err
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("where", ["XDG_STATE_HOME", "--state", "burrow.db"])
def test_state_folder_or_database_that_cannot_be_written(tmp_path, where):
    """A file where a folder should be and the other way round: root lacks no rights."""
    environment, arguments = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}, []
    (tmp_path / "file").write_text("")
    if where == "XDG_STATE_HOME":
        environment["XDG_STATE_HOME"] = str(tmp_path / "file")
    elif where == "--state":
        arguments = ["--state", str(tmp_path / "file" / "state")]
    else:
        (tmp_path / "burrow" / "burrow.db").mkdir(parents=True)
    for command in (["token", "create", "x"], ["server", "--https", "127.0.0.1:0", "--http", "off"]):
        done = subprocess.run(
            [sys.executable, "-m", "burrow.cli.main", *command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (78, "")
        assert "--state" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lost", [">&-", "> /dev/full"])
def test_standard_output_that_is_lost(lost, unbuffered):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m burrow.cli.main version {lost}', sys.executable],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    if lost != ">&-":  # a closed one leads nowhere
        assert done.returncode == 1
        assert done.stderr == "burrow: cannot write to standard output: No space left on device\n"


def test_certificate_files_that_do_not_fit(tmp_path):
    """Before anything listens: nothing of the libraries' own words is shown."""
    certificate, key = make_certificate(tmp_path, "localhost", stem="a")
    _, other = make_certificate(tmp_path, "localhost", stem="b")
    read_files(certificate, key)
    with pytest.raises(ConfigError, match=r"/dev/null holds no private key in PEM form$"):
        read_files(certificate, Path(os.devnull))
    with pytest.raises(ConfigError, match="is not that of the first certificate"):
        read_files(certificate, other)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--acme-email", "x"], "--acme-email has no effect without --tls acme"),
        (["--trusted-header", "Forwarded"], "--trusted-header has no effect without --trusted-proxy"),
        (["--cert-file", "/x"], "--cert-file has no effect without --tls files"),
    ],
)
def test_options_without_what_they_belong_to(capsys, monkeypatch, arguments, text):
    monkeypatch.setattr("burrow.cli.serve.run", lambda main, **options: 0)
    assert outcome(capsys, "server", *arguments) == (0, "", f"burrow: warning: {text}\n")


def test_option_of_a_tunnel_in_the_servers_file(capsys, tmp_path):
    file = tmp_path / "server.toml"
    for text in ('client-ca = "x"', '[server]\nclient-ca = "x"'):
        file.write_text(text)
        code, _, err = outcome(capsys, "config", "check", "server", "--config", file)
        assert code == 78
        assert "client-ca is an option of tunnels, which the agent opens" in err


def test_time_of_the_manual_pages(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    code, _, err = outcome(capsys, "help", "--man", tmp_path / "man")
    assert (code, "write seconds since 1970" in err) == (78, True)


def test_python_m():
    done = subprocess.run([sys.executable, "-m", "burrow", "version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("burrow ")


def test_one_is_no_plural():
    assert (count_of(0, "tunnel"), count_of(1, "tunnel"), count_of(2, "tunnel")) == (
        "0 tunnels",
        "1 tunnel",
        "2 tunnels",
    )
    assert "owns 1 name," in str(OverQuota("names", 1))
