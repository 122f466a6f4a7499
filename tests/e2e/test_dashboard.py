"""The dashboard in a real Chromium: who signs in sees what happens, and may do what the role may."""

import re
import time

import pytest
from selenium.webdriver.common.keys import Keys

from burrow.server.admin.dashboard.resource import SESSION
from tests.e2e.browsing import Chromium, axe_source
from tests.e2e.harness import World, reply, wait_for
from tests.e2e.test_admin import API, ask

VIEWS = ["Tunnels", "Requests", "Sessions", "Names", "Certificates", "Nodes", "Tokens", "Events", "Audit"]
HARMLESS = "return window.hacked === undefined && !document.querySelector('table script, table img')"
EVIL = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """
    A server whose tunnels are of its own site, as those of example.com are; localhost is no site. Chromium
    knows where burrow.localhost is; agents and tests ask for the address.
    """
    world = World(tmp_path_factory.mktemp("world"), domain="burrow.localhost")
    world.env["BURROW_SERVER"] = f"https://127.0.0.1:{world.https}"
    world.start_server()
    yield world
    world.close()


@pytest.fixture(scope="module")
def chromium():
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def boss(world):
    return world.token("boss", "admin")


@pytest.fixture(scope="module")
def tokens(world, boss):
    """Texts of tokens by role."""
    made = {"admin": boss}
    for role, name in (("agent", "ann@laptop"), ("viewer", "wall")):
        status, body = ask(world, "/tokens", boss, "POST", {"name": name, "role": role})
        assert status == 201, body
        made[role] = body["secret"]
    return made


class Page:
    """The dashboard."""

    def __init__(self, world, browser):
        self.browser = browser
        self.url = f"https://burrow.localhost:{world.https}"

    def open(self):
        self.browser.fresh(self.url + "/")
        self.browser.find("#token")
        return self

    def sign_in(self, token, words="Sign out"):
        self.open()
        self.browser.type("#token", token)
        self.browser.click("button", "Sign in")
        self.browser.sees(words)
        return self

    def go(self, path):
        self.browser.run("location.hash = arguments[0]", f"#/{path}")
        return self


@pytest.fixture
def page(world, chromium):
    chromium.size(1280, 800)
    return Page(world, chromium)


@pytest.fixture
def serve(world, upstream, tokens):
    """Opens a tunnel; closes it at the end of the test."""
    started = []

    def start(name, *flags, token=None, answer=lambda handler: reply(handler, b"hello"), wait=True):
        arguments = ["http", upstream(answer).port, "--name", name, *flags]
        agent = world.agent(*arguments, BURROW_TOKEN=token or tokens["agent"])
        started.append(agent)
        if wait:
            agent.ready()
        return agent

    yield start
    for agent in started:
        agent.program.stop()


# -- signing in ----------------------------------------------------------------------------------------------


MAY = {
    "agent": (VIEWS[:4], ["Close tunnel"]),
    "viewer": (VIEWS, []),
    "admin": (VIEWS, ["New token", "Close tunnel"]),
}
"""What each role sees, and the buttons at the top of a tunnel's page and of the tokens'."""


def test_each_role_sees_what_it_may(page, chromium, tokens, serve):
    for agent in (serve("mine", wait=False), serve("others", token=tokens["admin"], wait=False)):
        agent.ready()
    for role, (views, may) in MAY.items():
        page.sign_in(tokens[role])
        chromium.sees("mine", "tbody")
        assert ("others" in chromium.text("tbody")) == (role != "agent")
        assert chromium.texts("nav a") == views
        page.go("tunnels/mine")
        chromium.sees("No request yet")
        shown = chromium.texts(".aside button")
        if role != "agent":
            page.go("tokens")
            chromium.sees("wall", "tbody")
            shown += chromium.texts(".aside button")
            assert bool(chromium.texts("tbody button")) == (role == "admin")
            page.go("names")
            chromium.sees("mine", "tbody")
            assert ("Transfer" in chromium.texts("tbody button")) == (role == "admin")
        assert (role, sorted(shown)) == (role, sorted(may))
        assert chromium.troubles() == []


def test_the_cookie_is_out_of_the_pages_reach(page, chromium, tokens):
    page.sign_in(tokens["viewer"])
    (cookie,) = chromium.driver.get_cookies()
    assert (cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
        "__Host-burrow",
        True,
        True,
        "Strict",
        "/",
    )
    assert chromium.run("return document.cookie") == ""
    chromium.driver.refresh()
    chromium.sees("Sign out")
    chromium.click("button", "Sign out")
    chromium.find("#token")
    wait_for(lambda: chromium.driver.get_cookies() == [], "the end of the cookie")


@pytest.mark.parametrize("token", ["nonsense", "burrow_aaaaaaaaaa_" + "b" * 32, EVIL])
def test_a_wrong_token(page, chromium, token):
    page.sign_in(token, "The token is unknown or revoked: ask the server's owner")
    assert chromium.driver.get_cookies() == []


def test_a_revoked_token_signs_out_a_page_that_is_open(page, chromium, world, boss):
    body = ask(world, "/tokens", boss, "POST", {"name": "brief", "role": "viewer"})[1]
    page.sign_in(body["secret"])
    assert ask(world, f"/tokens/{body['id']}", boss, "DELETE")[0] == 204
    chromium.sees("You were signed out")
    chromium.find("#token")


def test_a_cookie_that_is_not_good_any_more(page, chromium, tokens):
    page.sign_in(tokens["viewer"])
    (cookie,) = chromium.driver.get_cookies()
    chromium.driver.delete_all_cookies()
    chromium.sees("You were signed out")
    chromium.driver.execute_cdp_cmd(
        "Network.setCookie",
        {
            "name": cookie["name"],
            "value": "x" * 43,
            "url": page.url,
            "path": "/",
            "secure": True,
            "httpOnly": True,
        },
    )
    assert len(chromium.driver.get_cookies()) == 1
    chromium.driver.refresh()
    chromium.find("#token")
    wait_for(lambda: chromium.driver.get_cookies() == [], "the end of the cookie")


def test_pages_of_a_tunnel_can_do_nothing(page, chromium, world, boss, serve, tokens):
    agent = serve("evil", answer=lambda handler: reply(handler, b"<h1>hi</h1>", Content_Type="text/html"))
    page.sign_in(boss)
    chromium.driver.get(agent.url + "/")
    statuses = chromium.driver.execute_async_script(
        """
        const [api, session, done] = arguments;
        const body = JSON.stringify({ name: "stolen", role: "admin" });
        const ways = [
          [api + "/tokens", { method: "POST", body, headers: { "Content-Type": "application/json" } }],
          [api + "/tokens", { method: "POST", body, mode: "no-cors" }],
          [api + "/whoami", {}],
          [session, {}],
          [session, { method: "POST", body: "{}", mode: "no-cors" }],
        ];
        Promise.all(ways.map(([url, how]) => fetch(url, { credentials: "include", ...how }).then(
          (answer) => answer.type, (error) => "refused"))).then(done);
        """,
        page.url + API,
        page.url + SESSION,
    )
    assert statuses == ["refused", "opaque", "refused", "refused", "refused"]
    chromium.run(
        """
        const form = document.createElement("form");
        Object.assign(form, { method: "POST", enctype: "text/plain", action: arguments[0] });
        const field = document.createElement("input");
        field.name = '{"name": "stolen", "role": "admin", "x": "';
        field.value = '"}';
        form.append(field);
        document.body.append(form);
        form.submit();
        """,
        page.url + API + "/tokens",
    )
    chromium.sees("403")
    assert "stolen" not in str(ask(world, "/tokens", boss))
    chromium.driver.get(agent.url + "/")
    framed = chromium.driver.execute_async_script(
        """
        const frame = document.createElement("iframe");
        frame.onload = () => arguments[1](frame.contentDocument === null);
        frame.src = arguments[0];
        document.body.append(frame);
        """,
        page.url + "/",
    )
    assert framed  # Chromium's own page says that it is refused
    wait_for(lambda: any("frame-ancestors" in trouble for trouble in chromium.troubles()), "its reason")


# -- what happens --------------------------------------------------------------------------------------------


def test_a_tunnel_appears_and_vanishes_by_itself(page, chromium, tokens, serve):
    page.sign_in(tokens["viewer"], "No tunnel is open")
    chromium.sees("burrow http 3000")
    agent = serve("blog")
    chromium.sees("blog.burrow.localhost", "tbody")
    assert "ann@laptop" in chromium.text("tbody")
    assert "127.0.0.1:" in chromium.text("tbody")
    agent.program.stop()
    chromium.sees("No tunnel is open")
    assert chromium.troubles() == []


def test_a_request_is_followed_and_the_tunnel_closed(page, chromium, world, tokens, serve):
    def answer(handler):
        if handler.path.startswith("/slow"):
            time.sleep(1)
        reply(handler, b"x" * 2000, 503 if "down" in handler.path else 200)

    agent = serve("shop", "--compress", "--request-header-set", "X-Key: a-secret", answer=answer)
    page.sign_in(tokens["admin"])
    chromium.click("td a", "shop")
    chromium.sees("No request yet")
    chromium.sees("--compress", ".facts .lines")
    assert chromium.text(".facts .lines") == "--request-header-set X-Key\n--compress"
    assert "a-secret" not in chromium.text("main")
    chromium.sees("live", ".tools")
    world.get(agent.host, f"/a?q={EVIL.replace(' ', '%20')}", X_Request_Id="order-17")
    world.get(agent.host, "/down", "POST", b"12345")
    chromium.sees("/down", ".requests")
    row = r"(?s)\d\d:\d\d:\d\d\s+POST\s+/down\s+503\s+[\d.]+ m?s\s+2.0 kB\s+127.0.0.1"
    wait_for(lambda: re.match(row, chromium.texts(".requests tr.request")[0]), "the request's end")
    _, second = chromium.texts(".requests tr.request")
    assert "<script>window.hacked=1</script>" in second
    chromium.click(".path", "/a?q")
    chromium.sees("order-17", ".more-facts:not([hidden])")
    inspector = chromium.find(".more-facts a").get_attribute("href")
    assert inspector == f"{agent.ready()[0]['inspector']}/?filter=method%3AGET%20path%3A%22%2Fa%22"
    assert chromium.run(HARMLESS)

    chromium.type("input[type=search]", "status:5xx")
    wait_for(lambda: len(chromium.texts(".requests tr.request")) == 1)
    chromium.type("input[type=search]", "status:abc")
    chromium.sees("status:abc is not possible: write status:404")
    chromium.type("input[type=search]", "-is:failed")
    wait_for(lambda: "/a?q" in " ".join(chromium.texts(".requests tr.request")))
    chromium.run(
        "const it = document.querySelector('main input'); it.value = ''; it.dispatchEvent(new Event('input'))"
    )

    chromium.click("button", "Pause")
    world.get(agent.host, "/while-paused")
    chromium.sees("1 new")
    chromium.sees("paused", ".tools")
    assert "/while-paused" not in chromium.text(".requests")
    chromium.click("button", "Go on")
    chromium.sees("/while-paused", ".requests")

    chromium.click("button", "Close tunnel")
    chromium.click("dialog button", "Cancel")
    chromium.click("button", "Close tunnel")
    chromium.click("dialog button", "Close tunnel")
    chromium.sees("This tunnel is closed")
    assert agent.program.wait() == 77
    entry = ask(world, "/audit", tokens["admin"])[1]["items"][0]
    assert (entry["who"], entry["action"], entry["target"]) == ("boss", "tunnel.close", "shop")
    assert [one for one in chromium.troubles() if "404" not in one] == []  # it asks whether it is open again


def test_sessions_and_names_are_ended_and_released(page, chromium, world, tokens, serve):
    agent = serve("notes")
    page.sign_in(tokens["agent"])
    page.go("sessions")
    chromium.sees("notes", "tbody")
    before = ask(world, "/sessions", tokens["agent"])[1]["items"][0]["id"]
    chromium.click("tbody button", "End")
    chromium.click("dialog button", "End session")
    chromium.sees("The session has ended.")
    wait_for(
        lambda: (
            [one["id"] for one in ask(world, "/sessions", tokens["agent"])[1]["items"]] not in ([], [before])
        )
    )
    agent.program.stop()
    page.go("names")
    chromium.sees("closed", "tbody")
    row = "return [...document.querySelectorAll('tbody tr')].find((one) => one.innerText.includes('notes'))"
    chromium.run(row).find_element("css selector", "button").click()
    chromium.click("dialog button", "Release name")
    chromium.sees("notes is free.")
    assert ask(world, "/names/notes", tokens["agent"])[0] == 404
    assert chromium.troubles() == []


def test_a_name_is_given_to_another_token(page, chromium, world, tokens, serve):
    serve("given").program.stop()
    page.sign_in(tokens["admin"])
    page.go("names")
    chromium.click("button[aria-label='Transfer given']")
    chromium.type("dialog input[name=owner]", "nobody")
    chromium.click("dialog button", "Transfer name")
    chromium.sees("There is no token named 'nobody'", "dialog")
    chromium.type("dialog input[name=owner]", "boss")
    chromium.click("dialog button", "Transfer name")
    chromium.sees("given is boss's now.")
    assert ask(world, "/names/given", tokens["admin"])[1]["owner"] == "boss"
    assert [one for one in chromium.troubles() if "422" not in one] == []


def test_a_token_is_made_shown_once_and_revoked(page, chromium, world, boss):
    page.sign_in(boss)
    page.go("tokens")
    chromium.click("button", "New token")
    chromium.type("dialog input[name=name]", EVIL[:40])
    chromium.click("dialog button", "Create token")
    chromium.sees("`name` is not possible", "dialog")
    chromium.type("dialog input[name=name]", "phone")
    chromium.click("dialog label", "viewer")
    chromium.click("dialog button", "Create token")
    secret = chromium.find("dialog code.secret").text
    assert ask(world, "/whoami", secret)[1]["role"] == "viewer"
    chromium.click("dialog button[aria-label='Copy the token']")
    chromium.sees("Copied.")
    chromium.click("dialog button", "I have it")
    chromium.sees("phone", "tbody")
    wait_for(lambda: secret not in chromium.run("return document.documentElement.outerHTML"), "its end")

    def press(label):
        chromium.click(f"button[aria-label='{label}']")

    press("Role of phone")
    chromium.click("dialog label", "agent")
    chromium.click("dialog button", "Change role")
    chromium.sees("phone has the role agent.")
    press("Revoke phone")
    chromium.click("dialog button", "Revoke token")
    chromium.sees("phone is revoked.")
    assert ask(world, "/whoami", secret)[0] == 401
    page.go("audit")
    chromium.sees("token.revoke", "tbody")
    page.go("events")
    chromium.sees("node-started")
    assert [one for one in chromium.troubles() if "422" not in one] == []


def test_a_lost_connection_is_told_and_made_up_for(page, chromium, world, tokens, serve):
    agent = serve("steady")
    page.sign_in(tokens["viewer"])
    page.go("tunnels/steady")
    chromium.sees("live", ".tools")
    world.get(agent.host, "/before")
    chromium.sees("/before", ".requests")
    world.server.kill()
    world.server.wait()
    chromium.sees("Connection to the server lost: what you see is old")
    assert "/before" in chromium.text(".requests")
    world.start_server()
    chromium.sees_no("Connection to the server lost")
    chromium.sees("live", ".tools")
    wait_for(lambda: world.get(agent.host, "/after")[0] == 200)
    chromium.sees("/after", ".requests")
    assert "/before" in chromium.text(".requests")


# -- for everybody -------------------------------------------------------------------------------------------


def test_axe_finds_nothing(page, chromium, tokens, serve, world, axe):
    agent = serve("seen")
    page.open()
    found = {"sign in": chromium.axe(axe)}
    page.sign_in(tokens["admin"])
    for path in [*map(str.lower, VIEWS), "tunnels/seen"]:
        page.go(path)
        chromium.sees("seen" if "/" in path else path.capitalize(), "h1")
        wait_for(lambda: chromium.texts(".frame, .empty, .events"))
        if path == "tunnels/seen":
            chromium.sees("live", ".tools")
            world.get(agent.host, "/seen?q=1")
            chromium.click(".path", "/seen?q")
        found[path] = chromium.axe(axe)
        if path in ("tunnels", "tokens", "events", "tunnels/seen"):
            chromium.colours("dark")
            found[path, "dark"] = chromium.axe(axe, "color-contrast")
            chromium.colours("light")
    page.go("tokens")
    chromium.click("button", "New token")
    found["dialog"] = chromium.axe(axe)
    assert {where: what for where, what in found.items() if what} == {}


def test_by_keyboard_alone(page, chromium, tokens, serve):
    serve("keys")
    page.open()

    def focus_is(words):
        wait_for(lambda: chromium.focus == words, f"the focus on {words!r}")

    focus_is("burrow_…")
    chromium.keys(tokens["admin"], Keys.ENTER)
    chromium.sees("keys", "tbody")
    chromium.run("document.activeElement.blur()")
    chromium.tab_to("Skip to the content")
    chromium.keys(Keys.ENTER)
    focus_is("Tunnels")
    chromium.tab_to("keys")
    chromium.keys(Keys.ENTER)
    chromium.sees("Owner")
    focus_is("keys")  # the heading
    chromium.tab_to("Close tunnel")
    chromium.keys(Keys.ENTER)
    chromium.sees("Close keys?", "dialog")
    focus_is("Cancel")
    chromium.keys(Keys.ESCAPE)
    focus_is("Close tunnel")


def test_on_a_phone(page, chromium, tokens, serve, world):
    agent = serve("a-tunnel-with-a-rather-long-name-of-sixty-characters-in-all")
    page.sign_in(tokens["admin"])
    chromium.size(390, 844, mobile=True)
    world.get(agent.host, "/" + "long/" * 60)
    for path in ["", *map(str.lower, VIEWS), "tunnels/" + agent.host.split(".")[0]]:
        page.go(path)
        wait_for(lambda: chromium.texts(".frame, .empty, .events"))
        width = chromium.run("return document.scrollingElement.scrollWidth")
        assert width <= 390, (path, width)
    assert chromium.texts("nav a") == []
    chromium.click(".menu")
    wait_for(lambda: chromium.texts("nav a") == VIEWS, "the menu")
    chromium.click("nav a", "Nodes")
    chromium.sees("Nodes", "h1")
    wait_for(lambda: chromium.texts("nav a") == [], "its end")


def test_the_colours_are_chosen_and_kept(page, chromium, tokens):
    chromium.colours("light")
    page.sign_in(tokens["viewer"])
    background = "return getComputedStyle(document.documentElement).backgroundColor"
    light = chromium.run(background)
    chromium.colours("dark")
    dark = wait_for(lambda: (now := chromium.run(background)) != light and now, "the dark colours")
    chromium.click("button.theme")  # light, whatever the system says
    wait_for(lambda: chromium.run(background) == light, "the light colours")
    chromium.driver.refresh()
    chromium.sees("Sign out")
    wait_for(lambda: chromium.run(background) == light, "the light colours")
    chromium.click("button.theme")
    chromium.colours("light")
    wait_for(lambda: chromium.run(background) == dark, "the dark colours")
    chromium.click("button.theme")
    wait_for(lambda: chromium.run(background) == light, "the light colours")


FAKE = """
window.answered = 0;
window.fetch = async (url) => {
  window.answered += 1;
  const items = url.includes("/tunnels") ? window.fakes : [];
  const headers = { "Content-Type": "application/json" };
  return new Response(JSON.stringify({ items, unanswered: [] }), { headers });
};
window.fakes = Array.from({ length: arguments[0] }, (_, number) => ({
  name: `t${number}${arguments[1]}`, kind: "http", url: `javascript:alert(${number})`,
  upstream: arguments[1], port: null, owner: arguments[1], agent: arguments[1], session: "s",
  address: arguments[1], node: arguments[1],
  state: number % 50 ? "open" : arguments[1], since: "2026-11-26T12:00:00.000Z", visitors: 1, requests: 5,
  received: 1, sent: 1,
}));
"""


def test_a_thousand_tunnels_with_names_that_are_scripts(page, chromium, tokens):
    page.sign_in(tokens["viewer"])
    chromium.run(FAKE, 1000, EVIL)
    chromium.look_now()
    chromium.sees("Show more: 100 of 1000 are shown")
    assert EVIL in chromium.text("tbody")
    assert chromium.run(
        "return window.hacked === undefined && !document.querySelector('table script, table img')"
    )
    assert chromium.run("return [...document.links].every((one) => /^https?:$/.test(one.protocol))")
    # What did not change is not touched.
    chromium.run(
        "window.touched = [];"
        "new MutationObserver((all) => window.touched.push(...all.map((one) => one.type)))"
        ".observe(document.querySelector('tbody'), { childList: true, characterData: true, subtree: true });"
        "window.answered = 0"
    )
    chromium.look_now()
    wait_for(lambda: chromium.run("return window.answered") >= 1)
    chromium.run("return new Promise((done) => setTimeout(() => requestAnimationFrame(done), 50))")
    assert chromium.run("return window.touched") == []
    chromium.run("window.fakes[3].owner = 'someone'; window.fakes.splice(5, 1)")
    chromium.look_now()
    chromium.sees("someone", "tbody")
    assert len(chromium.run("return window.touched")) < 10
    chromium.type("input[type=search]", "t999")
    wait_for(lambda: len(chromium.texts("tbody tr")) == 1)
    page.go("tunnels/" + "t1")
    chromium.sees("t1", "h1")
