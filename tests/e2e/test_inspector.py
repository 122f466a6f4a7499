"""The inspector of a real agent: its page in a real browser, its API, and the commands that ask it."""

import base64
import hashlib
import http.client
import json
import socket
import struct
from urllib.request import urlopen

import pytest

from tests.browser import chromium
from tests.e2e.harness import burrow, free_port, reply, wait_for

EVIL = "<script>document.title='ran'</script><img src=x onerror=document.title='ran'>"


def accept_websocket(handler):
    """Greet by WebSocket, and echo one message."""
    key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    handler.send_response(101)
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Upgrade", "websocket")
    handler.send_header(
        "Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    )
    handler.end_headers()
    text = f"greeting {EVIL}".encode()
    handler.wfile.write(struct.pack("!BB", 0x81, len(text)) + text)
    head = handler.rfile.read(2)
    mask = handler.rfile.read(4)
    data = bytes(byte ^ mask[number % 4] for number, byte in enumerate(handler.rfile.read(head[1] & 127)))
    handler.wfile.write(struct.pack("!BB", 0x81, len(data)) + data)
    handler.rfile.read(1)
    handler.close_connection = True


def serve(handler):
    """The upstream: tells the method, the body and whether it is a replay."""
    if handler.headers.get("Upgrade"):
        accept_websocket(handler)
        return
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
    told = {"method": handler.command, "body": body, "replay": handler.headers.get("X-Burrow-Replay")}
    status = 500 if "broken" in handler.path else 200
    reply(handler, json.dumps(told).encode(), status, Content_Type="application/json", X_Evil=EVIL)


PATHS = "[...document.querySelectorAll('.row .path')].map((each) => each.textContent)"
"""Of the rows that are seen, in a script."""


class Inspected:
    """An agent with an inspector."""

    def __init__(self, world, service, name):
        self.world = world
        self.address = f"127.0.0.1:{free_port()}"
        self.agent = world.agent("http", service.port, "--name", name, "--inspect", self.address)
        self.host = self.agent.host
        self.url = f"http://{self.address}"

    def visit(self, path, method="GET", body=None, **headers):
        return self.world.get(self.host, path, method, body, **headers)

    def api(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            fields["Content-Type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None

    def newest(self, path):
        """The newest request to a path, once it has ended."""

        def look():
            found = self.api("/api/requests")[1]
            return next((one for one in found if one["path"] == path and one["state"] == "ended"), None)

        return wait_for(look, f"a request to {path}")


@pytest.fixture(scope="module")
def inspected(world):
    from tests.e2e.harness import Upstream

    service = Upstream(serve)
    yield Inspected(world, service, "inspected")
    service.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


def see(browser, script, what):
    """Wait until C{script} returns something true in the page; return that."""
    return wait_for(lambda: browser.execute_script(f"return {script}"), f"{what}: {script}")


def text_of(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0])?.innerText || ''", selector)


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def no_errors(browser):
    """What the page's console has of errors, of scripts and of its policy."""
    return [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]


def test_a_request_is_seen_edited_replayed_and_compared(inspected, browser):
    browser.get(inspected.url)
    see(browser, "document.getElementById('state').textContent === 'live'", "the page to be live")
    inspected.visit("/hook?a=1", "POST", b'{"big": 12345678901234567890}', Content_Type="application/json",
                    Authorization="Bearer very-secret")  # fmt: skip
    see(
        browser,
        "[...document.querySelectorAll('.row .path')].some(e => e.textContent === '/hook?a=1')",
        "a row",
    )
    inspected.visit("/broken")

    # Filter.
    box = browser.find_element("id", "filter")
    box.send_keys("status:5xx")
    see(
        browser,
        "[...document.querySelectorAll('.row .path')].map(e => e.textContent).join() === '/broken'",
        "one row",
    )
    box.clear()
    box.send_keys("method:POST")
    see(
        browser,
        "[...document.querySelectorAll('.row .path')].map(e => e.textContent).join() === '/hook?a=1'",
        "one",
    )

    # Open, by its row. A secret is masked until it is clicked, and a number loses no digit.
    click(browser, ".row")
    see(browser, "document.querySelector('#request pre.code')", "the request")
    assert '"big": 12345678901234567890' in text_of(browser, "#request pre.code")
    assert "very-secret" not in browser.page_source
    click(browser, "#request .mask")
    see(
        browser,
        "document.querySelector('#request .secret')?.textContent === 'Bearer very-secret'",
        "the secret",
    )

    # Edit and replay: the secret that is masked in the form is sent, too.
    first = browser.current_url
    click(browser, "#edit")
    assert "very-secret" not in browser.find_element("id", "edit-headers").get_property("value")
    content = browser.find_element("id", "edit-body")
    content.clear()
    content.send_keys("other body")
    click(browser, "#edit-send")
    # The address changes at once; the request before is shown until the replay is there, with its answer.
    see(
        browser,
        f"location.href !== {json.dumps(first)}"
        " && document.querySelector('#response pre.code')?.innerText.includes('other body')",
        "a replay",
    )
    shown = text_of(browser, "#response pre.code")
    assert '"body": "other body"' in shown
    id = first.partition("?")[0].rpartition("/")[2]
    assert f'"replay": "{id}"' in shown
    again = inspected.api("/api/requests")[1][0]
    fields = dict(inspected.api(f"/api/requests/{again['id']}?secrets=1")[1]["request"]["headers"])
    assert (again["replay_of"], fields["Authorization"]) == (id, "Bearer very-secret")

    # Compare the two.
    click(browser, "#compare")
    see(browser, "document.querySelectorAll('#comparison td.differs').length > 1", "a comparison")
    assert "other body" in text_of(browser, "#comparison")
    assert f"/compare/{id}/{again['id']}" in browser.current_url
    assert no_errors(browser) == []


def test_what_a_stranger_sends_is_shown_as_text(inspected, browser):
    path = "/%3Cscript%3E" + EVIL.replace(" ", "/")
    inspected.visit(path, "POST", EVIL.encode(), X_Test=EVIL, Content_Type="text/html")
    one = inspected.newest(path)
    browser.get(f"{inspected.url}/requests/{one['id']}")
    see(browser, "document.querySelector('#request pre.code')", "the body")
    assert text_of(browser, "#request pre.code") == EVIL
    assert EVIL in text_of(browser, "#request .fields")
    assert EVIL in text_of(browser, "#response .fields")
    assert path in text_of(browser, "#detail h1")
    assert (
        browser.execute_script("return document.querySelectorAll('#detail script, #detail img').length") == 0
    )
    assert browser.title != "ran"
    # The body alone, opened as a page: it is saved, or shown in a sandbox, but it does not run here.
    browser.execute_async_script(
        "const done = arguments[1]; const frame = document.createElement('iframe');"
        "frame.src = arguments[0]; frame.onload = done; document.body.append(frame); setTimeout(done, 1500);",
        f"/api/requests/{one['id']}/body/request",
    )
    assert browser.title != "ran"


def test_messages_of_a_websocket_appear_as_they_come(inspected, browser):
    with inspected.world.connect(inspected.host) as visitor:
        visitor.sendall(
            f"GET /socket HTTP/1.1\r\nHost: {inspected.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        wait_for(lambda: b"101" in visitor.recv(4096), "the switch")
        one = wait_for(
            lambda: next(
                (one for one in inspected.api("/api/requests")[1] if one["protocol"] == "websocket"), None
            ),
            "the WebSocket",
        )
        browser.get(f"{inspected.url}/requests/{one['id']}")
        see(browser, "document.querySelectorAll('#messages .message').length >= 1", "the greeting")
        assert EVIL in text_of(browser, "#messages")
        visitor.sendall(b"\x81\x84\x00\x00\x00\x00ping")
        see(browser, "document.querySelectorAll('#messages .message').length >= 3", "what came after")
        assert "ping" in text_of(browser, "#messages")


def test_what_a_kind_counts_is_on_the_page(world, browser):
    """Datagrams to a service that is not there are dropped, and counted by the kind udp."""
    address = f"127.0.0.1:{free_port()}"
    agent = world.agent("udp", free_port(), "--name", "nobody", "--inspect", address)
    port = int(agent.url.rpartition(":")[2])

    def dropped():
        visitor.sendto(b"lost", ("127.0.0.1", port))
        with urlopen(f"http://{address}/api/status", timeout=20) as answer:
            return json.load(answer)["counts"].get("udp", {}).get("dropped")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
        wait_for(dropped, "a datagram that was dropped")
    no_errors(browser)  # what tests before have left
    browser.get(f"http://{address}/")
    see(browser, "/^udp: [1-9][0-9]* dropped$/.test(document.querySelector('#counts').textContent)", "counts")
    assert not no_errors(browser)
    agent.program.stop()


def test_keys_and_a_narrow_window(inspected, browser):
    inspected.visit("/keys")
    inspected.newest("/keys")
    browser.set_window_size(500, 844)
    try:
        browser.get(inspected.url)
        see(browser, "document.querySelector('.row')", "a row")
        body = browser.find_element("tag name", "body")
        body.send_keys("j")
        see(browser, "/requests\\/\\d+/.test(location.pathname)", "a request")
        see(browser, "document.querySelector('#requests').offsetParent === null", "the request alone")
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        browser.find_element("tag name", "body").send_keys("/")
        browser.get(inspected.url)
        see(browser, "document.querySelector('.row')", "a row")
        browser.find_element("tag name", "body").send_keys("?")
        see(browser, "document.getElementById('dialog').open", "the keys")
    finally:
        browser.set_window_size(1280, 800)


def test_another_sites_page_reads_nothing(inspected, browser, upstream):
    page = b"<!doctype html><title>evil</title>"
    evil = upstream(lambda handler: reply(handler, page, Content_Type="text/html"))
    browser.get(f"http://localhost:{evil.port}/")
    script = """
        const [url, method, done] = arguments;
        fetch(url, {method}).then((answer) => answer.text()).then(done, () => done("refused"));
    """
    for method in ("GET", "DELETE"):
        assert browser.execute_async_script(script, f"{inspected.url}/api/requests", method) == "refused"
    # What a page may send without asking first is refused, too, and changes nothing.
    replays = len(inspected.api("/api/requests")[1])
    send = """
        const [url, done] = arguments;
        fetch(url, {method: "POST", mode: "no-cors", body: "{}"}).then(() => done(1), () => done(0));
    """
    inspected.visit("/mine")
    one = inspected.newest("/mine")
    browser.execute_async_script(send, f"{inspected.url}/api/requests/{one['id']}/replay")
    assert len(inspected.api("/api/requests")[1]) == replays + 1
    assert inspected.api("/api/requests", Host="evil.example")[0] == 403
    assert inspected.api("/api/requests", Origin="https://evil.example")[0] == 403
    assert inspected.api("/api/requests")[1] != []


def test_commands_list_and_replay(inspected):
    inspected.visit("/command", "POST", b"one")
    one = inspected.newest("/command")
    env = inspected.world.env
    listed = burrow("requests", "path:/command", env=env)
    assert listed.wait() == 0, listed.output
    assert "/command" in listed.output
    assert one["id"] in listed.output
    as_json = burrow("requests", "--json", "path:/command", "method:POST", env=env)
    assert as_json.wait() == 0
    assert json.loads(as_json.lines[-1])["id"] == one["id"]
    again = burrow("replay", one["id"], "--method", "PUT", "--data", "two", "--header", "X-A: b", env=env)
    assert again.wait() == 0, again.output
    assert '"method": "PUT", "body": "two"' in again.output
    assert f'"replay": "{one["id"]}"' in again.output


def test_commands_follow(inspected):
    following = burrow("requests", "-f", "--json", "path:/followed", env=inspected.world.env)
    inspected.world.started.append(following)

    def seen():
        inspected.visit("/followed")
        return any('"/followed"' in line for line in following.lines)

    wait_for(seen, "a request that was followed")


def test_commands_say_what_is_wrong(inspected, tmp_path):
    nobody = {**inspected.world.env, "XDG_STATE_HOME": str(tmp_path)}
    port = free_port()
    none = burrow("requests", "--inspect", str(port), env=nobody)
    assert none.wait() == 69
    assert f"no inspector answers at http://127.0.0.1:{port}" in none.output
    lost = burrow("replay", "99999999", "--inspect", inspected.address, env=nobody)
    assert lost.wait() == 1
    assert "There is no request 99999999 here" in lost.output
    wrong = burrow("requests", "status:huge", env=inspected.world.env)
    assert wrong.wait() == 78
    assert "filter is not possible" in wrong.output


def test_an_address_that_is_taken_and_none_at_all(world, inspected, upstream):
    hello = upstream(lambda handler: reply(handler, b"hello"))
    taken = burrow("http", hello.port, "--inspect", inspected.address, env=world.env)
    assert taken.wait() == 78
    assert "--no-inspect" in taken.output
    without = world.agent("http", hello.port, "--name", "unseen", "--no-inspect")
    assert "inspector" not in without.ready()[0]
    second = world.agent("http", hello.port, "--name", "second")
    url = second.ready()[0]["inspector"]
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 5):
        pass
    several = burrow("requests", env=world.env)
    assert several.wait() == 78
    assert url in several.output
    second.program.stop()
    assert burrow("requests", env=world.env).wait() == 0  # its note went with it


def test_open_to_other_machines_is_warned_of(world, upstream):
    hello = upstream(lambda handler: reply(handler, b"hello"))
    agent = world.agent("http", hello.port, "--name", "wide", "--inspect", f"0.0.0.0:{free_port()}")
    agent.ready()
    (warning,) = agent.events("warning")
    assert "sees all requests" in warning["message"]
    agent.program.stop()
