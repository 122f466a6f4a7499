"""A CA (RFC 8555) in memory, for what Pebble cannot do: limits, profiles, renewal information."""

import base64
import datetime
import json
from collections import Counter

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from burrow.certificates.acme.transport import Answer, Transport

URN = "urn:ietf:params:acme:error:"
ROOT = ec.generate_private_key(ec.SECP256R1())


def decoded(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"null")


def issue(public_key, names, begins, lifetime):
    """A certificate's PEM. C{begins}: seconds since the epoch; C{lifetime}: seconds."""
    begins = datetime.datetime.fromtimestamp(begins, datetime.UTC)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Fake CA")])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(seconds=lifetime))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(b"fake", None, None), critical=False)
        .sign(ROOT, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class FakeCA:
    """
    @ivar asked: how often each path was asked for. @ivar orders: the payloads of new orders.
    @ivar issued: how many certificates each name got. @ivar refuse: called with a name; a problem document
        and a Retry-After, or None. @ivar window: what renewal information says, as JSON and Retry-After.
    @ivar held: paths that are not answered: a list of Deferreds for each, whose firing lets one go on.
    @ivar invalid: names whose validation fails. @ivar pending: names whose validation never ends.
    """

    def __init__(self, now, *, informs=False, profiles=None, lifetime=90 * 86_400.0, eab=False):
        self.now = now
        self.lifetime = lifetime
        self.asked = Counter()
        self.orders = []
        self.accounts = []
        self.issued = Counter()
        self.refuse = lambda name: None
        self.window = None
        self.held = {}
        self.invalid = set()
        self.pending = set()
        self._names = {}
        self._certificates = {}
        self._directory = {key: f"https://ca/{key}" for key in ("newNonce", "newAccount", "newOrder")}
        if informs:
            self._directory["renewalInfo"] = "https://ca/renewal"
        self._directory["meta"] = {"externalAccountRequired": eab}
        if profiles is not None:
            self._directory["meta"]["profiles"] = profiles

    def use(self, test, *others):
        """Let all of a test's directories ask this one, or by their URLs' host one of the others."""
        cas = {"ca": self, **{f"ca{number}": ca for number, ca in enumerate(others, 2)}}
        test.patch(
            Transport,
            "_exchange",
            lambda transport, method, url, body: cas[url.split("/")[2]].exchange(
                method, url.replace(url.split("/")[2], "ca", 1), body, url.split("/")[2]
            ),
        )

    async def exchange(self, method, url, body, host):
        status, fields, headers = await self._answer(url.removeprefix("https://ca/"), body)
        text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        text = text.replace(b"https://ca/", f"https://{host}/".encode())
        headers = {"Replay-Nonce": "nonce", "Location": url, **headers}
        location = str(headers["Location"]).replace("https://ca/", f"https://{host}/")
        headers = Headers({key: [str(value)] for key, value in {**headers, "Location": location}.items()})
        return Answer(status, headers, text)

    async def _answer(self, path, body):
        kind = path.partition("/")[0]
        self.asked[kind] += 1
        if kind in self.held:
            waiting = Deferred()
            self.held[kind].append(waiting)
            await waiting
        signed = {} if body is None else json.loads(body)
        payload = decoded(signed["payload"]) if signed.get("payload") else None
        return getattr(self, "_" + kind)(path.partition("/")[2], payload)

    def _dir(self, _, payload):
        return 200, self._directory, {}

    def _newNonce(self, _, payload):
        return 200, {}, {}

    def _newAccount(self, _, payload):
        self.accounts.append(payload)
        return 201, {}, {"Location": "https://ca/account/1"}

    def _newOrder(self, _, payload):
        name = payload["identifiers"][0]["value"]
        self.orders.append(payload)
        refusal = self.refuse(name)
        if refusal is not None:
            problem, retry_after = refusal
            return 429, {"type": URN + "rateLimited", **problem}, {"Retry-After": retry_after}
        number = str(len(self.orders))
        self._names[number] = name
        return 201, self._order(number, "pending"), {"Location": f"https://ca/order/{number}"}

    @staticmethod
    def _order_url(kind, number):
        return f"https://ca/{kind}/{number}"

    def _order(self, number, status=None):
        if status is None or not isinstance(status, str):
            return 200, self._order(number, "valid" if number in self._certificates else "processing"), {}
        return {
            "status": status,
            "authorizations": [f"https://ca/authz/{number}"],
            "finalize": f"https://ca/finalize/{number}",
            "certificate": f"https://ca/certificate/{number}",
        }

    def _authz(self, number, payload):
        name = self._names[number]
        challenge = {"type": "tls-alpn-01", "url": f"https://ca/challenge/{number}", "token": "token"}
        # As drafts have them: one without a token.
        other = {"type": "dns-persist-01", "url": "https://ca/x", "issuer-domain-names": ["ca"]}
        status = "invalid" if name in self.invalid else "pending" if name in self.pending else "valid"
        identifier = {"type": "dns", "value": name}
        return 200, {"status": status, "identifier": identifier, "challenges": [other, challenge]}, {}

    def _challenge(self, number, payload):
        return 200, {}, {}

    def _finalize(self, number, payload):
        text = payload["csr"]
        csr = x509.load_der_x509_csr(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        name = self._names[number]
        self.issued[name] += 1
        self._certificates[number] = issue(csr.public_key(), [name], self.now() - 1, self.lifetime)
        return 200, self._order(number, "valid"), {}

    def _certificate(self, number, payload):
        return 200, self._certificates[number], {}

    def _renewal(self, _, payload):
        if self.window is None:
            return 404, {}, {}
        window, retry_after = self.window
        return 200, window, {} if retry_after is None else {"Retry-After": retry_after}
