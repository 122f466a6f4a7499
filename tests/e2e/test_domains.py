"""Domains of users' own: DNS and a CA that are the tests', and real visitors."""

import re
from http.client import HTTPConnection

import pytest
from cryptography import x509

from tests.e2e.acme import acme_server, shown
from tests.e2e.harness import World, burrow, free_port, reply, wait_for
from tests.files import make_certificate
from tests.pebble import Pebble

APP = "app.example.org"


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    """A server of two processes, its CA, which is also the DNS that the server asks, and a token."""

    def prepare(pebble):
        pebble.mock("set-default-ipv4", ip="")
        for name in ("burrow.localhost", "shop.burrow.localhost"):
            pebble.point(name, "127.0.0.1")
        return {"dns_server": f"127.0.0.1:{pebble.dns}"}

    options = {"public_address": ["127.0.0.1", "127.0.0.2"], "workers": 2}
    with acme_server(tmp_path_factory.mktemp("domains"), prepare, **options) as pair:
        yield pair


@pytest.fixture
def hello(upstream):
    return upstream(lambda handler: reply(handler, handler.headers["X-Forwarded-Host"].encode())).port


def refused(world, *arguments, code=77):
    """Why an agent gives up."""
    agent = world.agent("http", 3000, *arguments)
    assert agent.program.wait() == code, agent.program.output
    return agent.events("error")[0]


def proof(told):
    """The value of the TXT record that a refusal asks for."""
    return re.search(r'the TXT record _burrow\.\S+ to "(burrow=[0-9a-f]{40})"', told)[1]


def test_from_nothing_to_a_page(acme, hello):
    world, pebble = acme
    told = refused(world, "--domain", APP)
    assert told["error"] == "NotAllowed"
    assert f"the TXT record _burrow.{APP}" in told["message"]
    assert f"the CNAME record {APP} to burrow.localhost" in told["message"]
    pebble.point(APP, "127.0.0.1")
    value = proof(refused(world, "--domain", APP)["message"])
    pebble.mock("set-txt", host=f"_burrow.{APP}.", value=value)
    before = pebble.orders()
    agent = world.agent("http", hello, "--name", "shop", "--domain", APP)
    urls = {each["name"]: each["url"] for each in agent.ready(2)}
    assert urls[APP] == f"https://{APP}:{world.https}"
    assert pebble.orders() == before + 2
    # On whichever process a visitor comes to, and from the redirect on.
    for _ in range(6):
        assert world.get(APP)[2] == APP.encode()
    status, headers, _ = plain(world, APP)
    assert (status, headers["Location"]) == (308, f"https://{APP}:{world.https}/")
    assert plain(world, "nobody.example.org")[0] == 404
    assert world.get("shop.burrow.localhost")[2] == b"shop.burrow.localhost"
    # Nobody else's: by name, by record, by a look-alike.
    assert world.get("other.example.org", sni=APP)[0] == 421
    world.env["BURROW_TOKEN"], own = world.token("second"), world.env["BURROW_TOKEN"]
    try:
        assert refused(world, "--domain", APP)["error"] == "NameTaken"
        assert agent.program.process.poll() is None
        listed = burrow("names", "list", "--state", world.folder / "state")
        assert listed.wait() == 0
        assert APP in listed.output
        released = burrow("names", "release", APP, "--force", "--state", world.folder / "state")
        assert released.wait() == 0
        # Its record still leads here; that is not enough.
        told = refused(world, "--domain", APP)
        assert told["error"] == "NotAllowed"
        assert "CNAME" not in told["message"]
        assert proof(told["message"]) != value
    finally:
        world.env["BURROW_TOKEN"] = own
    wait_for(lambda: world.get(APP, sni="burrow.localhost")[0] in (404, 421), "the name to be free")


def plain(world, host):
    """A request on the plain port."""
    connection = HTTPConnection("127.0.0.1", world.http, timeout=20)
    connection.request("GET", "/", headers={"Host": host})
    response = connection.getresponse()
    found = response.status, response.headers, response.read()
    connection.close()
    return found


def test_an_alias(acme, hello):
    world, pebble = acme
    name = "alias.example.org"
    pebble.mock("set-cname", host=f"{name}.", target="burrow.localhost.")
    told = refused(world, "--domain", name)["message"]
    assert "CNAME" not in told
    pebble.mock("set-txt", host=f"_burrow.{name}.", value=proof(told))
    world.agent("http", hello, "--domain", name).ready()
    assert world.get(name)[2] == name.encode()


def test_a_ca_that_does_not_find_it(acme, hello):
    """DNS says that it leads here, and the CA cannot connect: the tunnel does not open."""
    world, pebble = acme
    name = "late.example.org"
    pebble.point(name, "127.0.0.2")
    pebble.mock("set-txt", host=f"_burrow.{name}.", value=proof(refused(world, "--domain", name)["message"]))
    told = refused(world, "--domain", name)
    assert told["error"] == "CertificateFailed"
    assert f"Does DNS for {name} point here" in told["message"]
    assert world.get(name, sni="burrow.localhost")[0] == 421
    pebble.point(name, "127.0.0.1")
    agent = world.agent("http", hello, "--domain", name)
    assert agent.ready()[0]["url"] == f"https://{name}:{world.https}"
    assert world.get(name)[2] == name.encode()


def test_a_wildcard_by_acme(acme, hello):
    """Each host gets its certificate when it is asked for, few a day, and none that is nobody's."""
    world, pebble = acme
    hosts = [f"{label}.blog.burrow.localhost" for label in "abcdefg"]
    for host in (*hosts, "x.other.burrow.localhost", "blog.burrow.localhost"):
        pebble.point(host, "127.0.0.1")
    before = pebble.orders()
    agent = world.agent("http", hello, "--name", "*.blog")
    assert agent.ready()[0]["url"] == f"https://*.blog.burrow.localhost:{world.https}"
    assert pebble.orders() == before
    for host in hosts[:5]:
        assert world.get(host)[2] == host.encode()
    for host in hosts[:5]:
        assert world.get(host)[0] == 200
    assert pebble.orders() == before + 5
    assert [shown(world, host) for host in (*hosts[5:], "x.other.burrow.localhost")] == [None] * 3
    assert pebble.orders() == before + 5
    exact = world.agent("http", 3000, "--name", "blog")
    assert exact.ready()
    assert world.get("blog.burrow.localhost")[0] == 502


def test_a_wildcard_by_the_local_ca(tmp_path, hello):
    world = World(tmp_path, domain="burrow.localhost", workers=2)
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        world.agent("http", hello, "--name", "*.blog").ready()
        for label in "abcdefgh":
            host = f"{label}.blog.burrow.localhost"
            assert world.get(host)[2] == host.encode()
        world.env["BURROW_TOKEN"] = world.token("second")
        assert refused(world, "--name", "blog")["error"] == "NameTaken"
        assert world.get("a.shop.burrow.localhost", sni="burrow.localhost")[0] in (404, 421)
    finally:
        world.close()


def test_names_that_are_nobodys(acme):
    world, _ = acme
    base = shown(world, "burrow.localhost")
    for name in ("nobody.example.org", "example.net"):
        assert shown(world, name) == base


def test_by_the_local_ca(tmp_path, hello):
    pebble = Pebble(free_port())  # for its DNS
    world = World(tmp_path, dns_server=f"127.0.0.1:{pebble.dns}", ca_domain="example.org")
    try:
        pebble.point(APP, "127.0.0.1")
        pebble.point("localhost", "127.0.0.1")
        pebble.point("app.example.net", "127.0.0.1")
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        for name in (APP, "app.example.net"):
            value = proof(refused(world, "--domain", name)["message"])
            pebble.mock("set-txt", host=f"_burrow.{name}.", value=value)
        world.agent("http", hello, "--domain", APP).ready()
        assert world.get(APP)[2] == APP.encode()
        told = refused(world, "--domain", "app.example.net")
        assert told["error"] == "CertificateFailed"
        assert "--ca-domain" in told["message"]
        ca = x509.load_pem_x509_certificate((world.folder / "state" / "ca.pem").read_bytes())
        allowed = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
        assert {"localhost", "example.org"} <= {str(each.value) for each in allowed}
    finally:
        world.close()
        pebble.close()


def test_by_files_that_do_not_cover_it(tmp_path, hello):
    pebble = Pebble(free_port())
    cert, key = make_certificate(tmp_path / "c", "localhost", "covered.example.org")
    world = World(
        tmp_path,
        tls="files",
        cert_file=cert,
        key_file=key,
        ca_file=cert,
        dns_server=f"127.0.0.1:{pebble.dns}",
        public_address="127.0.0.1",
    )
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        for name in ("covered.example.org", APP):
            pebble.point(name, "127.0.0.1")
            value = proof(refused(world, "--domain", name)["message"])
            pebble.mock("set-txt", host=f"_burrow.{name}.", value=value)
        world.agent("http", hello, "--domain", "covered.example.org").ready()
        assert world.get("covered.example.org")[2] == b"covered.example.org"
        assert "has no certificate for" in refused(world, "--domain", APP)["message"]
    finally:
        world.close()
        pebble.close()
