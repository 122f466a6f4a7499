"""Who may visit: real visitors, and a real OpenID provider."""

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import threading
import time
from base64 import b64encode
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.harness import Upstream, World, burrow, reply
from tests.e2e.websockets import accept_websocket, websocket_status

KEY = rsa.generate_private_key(65537, 2048)
JWK = {**jwt.get_algorithm_by_name("RS256").to_jwk(KEY.public_key(), as_dict=True), "kid": "k1"}


class Provider:
    """An OpenID provider, at which everybody is alice and consents at once."""

    def __init__(self):
        self.codes = {}
        self.service = Upstream(self._answer)
        self.issuer = f"http://127.0.0.1:{self.service.port}"

    def _answer(self, handler):
        where = urlsplit(handler.path)
        asked = {name: values[0] for name, values in parse_qs(where.query).items()}
        if where.path == "/.well-known/openid-configuration":
            ends = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("authorization", "token")}
            said = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", **ends}
            reply(handler, json.dumps(said).encode(), Content_Type="application/json")
        elif where.path == "/keys":
            reply(handler, json.dumps({"keys": [JWK]}).encode(), Content_Type="application/json")
        elif where.path == "/authorization":
            assert (asked["client_id"], asked["code_challenge_method"]) == ("app", "S256")
            self.codes["c1"] = asked
            back = urlencode({"code": "c1", "state": asked["state"]})
            reply(handler, b"", 303, Location=f"{asked['redirect_uri']}?{back}")
        elif where.path == "/token":
            form = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
            begun = self.codes.pop(form["code"][0])
            digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
            right = jwt.utils.base64url_encode(digest).decode() == begun["code_challenge"]
            right &= handler.headers["Authorization"] == "Basic " + b64encode(b"app:s3cret").decode()
            token = self.token(nonce=begun["nonce"])
            body = {"id_token": token, "access_token": "at"} if right else {}
            reply(handler, json.dumps(body).encode(), 200 if right else 400, Content_Type="application/json")
        else:
            reply(handler, b"", 404)

    def token(self, **more):
        claims = {"iss": self.issuer, "aud": "app", "sub": "1", "exp": time.time() + 3600}
        claims |= {"email": "alice@example.com", "email_verified": True, **more}
        return jwt.encode(claims, KEY, "RS256", {"kid": "k1"})


class Tunnels:
    """A server, and an agent whose tunnels are each for some visitors."""

    def __init__(self, folder):
        self.provider = Provider()
        self.came = []
        self.lock = threading.Lock()
        self.service = Upstream(self._answer)
        os.environ["BURROW_PRIVATE_PROVIDERS"] = "true"  # the provider is on the loopback
        try:
            self.world = World(folder)
            self.world.start_server()
        finally:
            del os.environ["BURROW_PRIVATE_PROVIDERS"]
        self.world.env["BURROW_TOKEN"] = self.world.token()
        issuer = self.provider.issuer
        tables = {
            "basic": ['basic-auth = ["alice:correct horse"]'],
            "bearer": ['bearer-token = ["a-token-of-16-or-more"]'],
            "password": ['password = "open sesame"'],
            "hook": ['verify = ["github=the-secret"]'],
            "share": ["share-links = true"],
            "denied": ['deny = ["127.0.0.0/8"]'],
            "jwt": [f'jwt-issuer = "{issuer}"', 'jwt-audience = ["app"]'],
            "oidc": [
                f'oidc-issuer = "{issuer}"',
                'oidc-client = "app"',
                'oidc-secret = "s3cret"',
                'oidc-allow = ["alice@example.com"]',
            ],
        }
        file = folder / "agent.toml"
        file.write_text(
            "".join(
                "\n".join([f"[tunnels.{name}]", f"upstream = {self.service.port}", *lines, "", ""])
                for name, lines in tables.items()
            )
        )
        self.agent = self.world.agent("start", "--config", file)
        self.hosts = {each["name"]: each["url"].split("/")[2] for each in self.agent.ready(len(tables))}

    def _answer(self, handler):
        with self.lock:
            self.came.append(handler.headers)
        if handler.headers.get("Upgrade"):
            accept_websocket(handler)
            return
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        reply(handler, b"hello " + body)

    def curl(self, name, *arguments, path="/"):
        """A visitor's curl: the last answer's status, and what it wrote."""
        url = path if path.startswith("https:") else f"https://{self.hosts[name]}{path}"
        done = subprocess.run(
            ["curl", "-sS", "--cacert", self.world.ca_file, "-w", "\n%{http_code}", *arguments, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def kept_out(self, ask):
        """Whether asking reaches the service."""
        before = len(self.came)
        status = ask()
        return status if len(self.came) == before else f"{status}, and the service was asked"

    def socket(self, name, *fields):
        """The status of a WebSocket handshake by a real client."""
        return websocket_status(self.world, self.hosts[name], *fields)

    def close(self):
        self.world.close()
        self.service.close()
        self.provider.service.close()


@pytest.fixture(scope="module")
def tunnels(tmp_path_factory):
    assert shutil.which("curl")
    made = Tunnels(tmp_path_factory.mktemp("access"))
    yield made
    made.close()


BEARER = "Authorization: Bearer a-token-of-16-or-more"
BASIC = "Authorization: Basic " + b64encode(b"alice:correct horse").decode()


def test_passwords_tokens_and_addresses(tunnels):
    assert tunnels.kept_out(lambda: tunnels.curl("basic")[0]) == 401
    assert tunnels.kept_out(lambda: tunnels.curl("basic", "-u", "alice:wrong horse")[0]) == 401
    assert tunnels.kept_out(lambda: tunnels.socket("basic")) == 401
    assert tunnels.curl("basic", "-u", "alice:correct horse") == (200, "hello ")
    assert tunnels.came[-1]["Burrow-User"] == "alice"
    assert tunnels.came[-1]["Authorization"] is None
    assert tunnels.socket("basic", BASIC) == 101
    assert tunnels.kept_out(lambda: tunnels.curl("bearer")[0]) == 401
    assert tunnels.curl("bearer", "-H", BEARER)[0] == 200
    assert tunnels.socket("bearer", BEARER) == 101
    assert tunnels.kept_out(lambda: tunnels.curl("denied")[0]) == 403
    assert tunnels.kept_out(lambda: tunnels.socket("denied")) == 403


def test_signed_webhooks(tunnels, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(500_000))
    right = hmac.new(b"the-secret", body.read_bytes(), "sha256").hexdigest()
    for signature, status in ((right, 200), (right[::-1], 401)):
        asked = [
            "--data-binary",
            f"@{body}",
            "-H",
            f"X-Hub-Signature-256: sha256={signature}",
            "-o",
            os.devnull,
        ]
        asked += ["-H", "Expect: 100-continue"]
        if status == 200:
            assert tunnels.curl("hook", *asked)[0] == status
        else:
            assert tunnels.kept_out(lambda asked=asked: tunnels.curl("hook", *asked)[0]) == status
    assert tunnels.kept_out(lambda: tunnels.curl("hook")[0]) == 401


def test_a_password_on_a_page(tunnels, tmp_path):
    jar = str(tmp_path / "jar")
    browser = ["-b", jar, "-c", jar, "-H", "Accept: text/html"]
    status, page = tunnels.curl("password", *browser, path="/a?b")
    assert status == 401
    assert 'action="/_burrow/sign-in"' in page
    assert tunnels.kept_out(lambda: tunnels.curl("password")[0]) == 401
    form = ["-L", "--data-urlencode", "to=/a?b", "--data-urlencode"]
    assert tunnels.curl("password", *browser, *form, "password=wrong", path="/_burrow/sign-in")[0] == 401
    assert (
        tunnels.curl("password", *browser, *form, "password=open sesame", path="/_burrow/sign-in")[0] == 200
    )
    assert tunnels.curl("password", *browser)[0] == 200
    assert tunnels.came[-1]["Cookie"] is None
    assert tunnels.curl("password", *browser, path="/_burrow/sign-out")[0] == 200
    assert tunnels.kept_out(lambda: tunnels.curl("password", *browser)[0]) == 401


def test_a_link_that_expires(tunnels, tmp_path):
    jar = str(tmp_path / "jar")
    assert tunnels.kept_out(lambda: tunnels.curl("share")[0]) == 401
    shared = burrow("share", "share", "--for", "2h", env=tunnels.world.env)
    assert shared.wait() == 0, shared.output
    link = shared.line(r"^https://\S+burrow-key=\S+")[0]
    assert tunnels.curl("share", "-L", "-b", jar, "-c", jar, path=link) == (200, "hello ")
    assert tunnels.curl("share", "-b", jar)[0] == 200
    cookie = re.search(r"(__Host-burrow-share)\s+(\S+)", (tmp_path / "jar").read_text())
    assert tunnels.socket("share", f"Cookie: {cookie[1]}={cookie[2]}") == 101
    assert tunnels.kept_out(lambda: tunnels.curl("share", path=link[:-1] + "!")[0]) == 403
    assert link.partition("burrow-key=")[2] not in tunnels.world.server.output


def test_tokens_of_an_issuer(tunnels):
    right = f"Authorization: Bearer {tunnels.provider.token()}"
    wrong = f"Authorization: Bearer {tunnels.provider.token(aud='other')}"
    assert tunnels.curl("jwt", "-H", right)[0] == 200
    assert tunnels.came[-1]["Burrow-User-Email"] == "alice@example.com"
    assert tunnels.socket("jwt", right) == 101
    assert tunnels.kept_out(lambda: tunnels.curl("jwt", "-H", wrong)[0]) == 401
    assert tunnels.kept_out(lambda: tunnels.socket("jwt", wrong)) == 401


def test_sign_in_at_a_provider(tunnels, tmp_path):
    jar = str(tmp_path / "jar")
    browser = ["-L", "-b", jar, "-c", jar, "-H", "Accept: text/html"]
    assert tunnels.kept_out(lambda: tunnels.socket("oidc")) == 401
    assert tunnels.kept_out(lambda: tunnels.curl("oidc")[0]) == 401
    forged = ["-H", "Burrow-User-Email: root@example.com"]
    assert tunnels.curl("oidc", *browser, *forged, path="/a") == (200, "hello ")
    assert tunnels.came[-1].get_all("Burrow-User-Email") == ["alice@example.com"]
    cookie = re.search(r"(__Host-burrow-session)\s+(\S+)", (tmp_path / "jar").read_text())
    assert tunnels.socket("oidc", f"Cookie: {cookie[1]}={cookie[2]}") == 101
    assert tunnels.curl("oidc", *browser, path="/_burrow/sign-out")[0] == 200
    assert tunnels.kept_out(lambda: tunnels.curl("oidc", "-b", jar)[0]) == 401


def test_secrets_are_in_no_log(tunnels):
    said = tunnels.world.server.output + tunnels.agent.program.output
    for secret in ("correct horse", "open sesame", "a-token-of-16", "the-secret", "s3cret", "$scrypt$"):
        assert secret not in said
