"""
The options that say who may visit a tunnel whose requests the edge reads, and the rules that they make.

Passwords and tokens leave the agent hashed. What has to be known as it is to be checked (the secrets of
webhooks, of a client of OpenID Connect) is told to the server, which keeps it with the tunnel's lease.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from burrow.errors import ConfigError
from burrow.policy.addresses import Addresses
from burrow.policy.basic import BasicAuth, User, parse_user
from burrow.policy.bearer import BearerTokens
from burrow.policy.client_ca import CAFile, parse_client_ca
from burrow.policy.doors import Authentication, Door
from burrow.policy.hashed import Given, parse_password, parse_token
from burrow.policy.jwts import JsonWebTokens
from burrow.policy.mutual import ClientCertificates
from burrow.policy.oidc import Client, OpenId
from burrow.policy.password import PasswordPage
from burrow.policy.people import parse_allowed
from burrow.policy.share import ShareLinks, parse_share_key
from burrow.policy.signatures import SENDERS, parse_signature
from burrow.policy.webhooks import Webhooks
from burrow.protocols.admission import ALLOW, DENY, Admission
from burrow.protocols.options import KindOption, Side, kind_option

MAX_EACH = 20
"""Values of an option, at most: each is compared with what a visitor shows."""


def parse_url(text: str) -> str:
    """A URL of somebody who says who visitors are."""
    parts = urlsplit(text)
    if (
        parts.scheme not in ("https", "http")
        or not parts.hostname
        or parts.username is not None
        or parts.fragment
        or not re.fullmatch(r"[!-~]{1,300}", text)
    ):
        raise ValueError("write a URL, as in https://accounts.example.com")
    return text


def parse_word(text: str) -> str:
    """A text that others understand."""
    if not 0 < len(text) <= 300 or not text.isprintable():
        raise ValueError("write a text of up to 300 characters")
    return text


BASIC_AUTH = kind_option(
    "basic-auth",
    "let in who gives this user's name and password; may be repeated",
    parse=parse_user,
    metavar="USER:PASSWORD",
    many=True,
    secret=True,
)
BEARER_TOKEN = kind_option(
    "bearer-token",
    "let in who sends this token in Authorization: Bearer; may be repeated",
    parse=parse_token,
    metavar="TOKEN",
    many=True,
    secret=True,
)
VERIFY = kind_option(
    "verify",
    f"let in webhooks that are signed by this secret, as their sender ({', '.join(SENDERS)}) signs; "
    "may be repeated",
    parse=parse_signature,
    metavar="SENDER=SECRET",
    many=True,
    secret=True,
)
PASSWORD = kind_option(
    "password",
    "let in who gives this password on a page",
    parse=parse_password,
    metavar="PASSWORD",
    secret=True,
)
SHARE_LINKS = kind_option(
    "share-links",
    "let in who comes by a link of `burrow share`, made on this machine, until it expires",
    False,
    side=Side.AGENT,
)
SHARE_KEY = kind_option(
    "share-key",
    "the same for links that are made where this key is: `burrow share --show-key` prints it there",
    parse=parse_share_key,
    metavar="KEY",
)
JWT_ISSUER = kind_option(
    "jwt-issuer",
    "let in who sends a JSON Web Token of this issuer's in Authorization: Bearer",
    parse=parse_url,
    metavar="URL",
)
JWT_AUDIENCE = kind_option(
    "jwt-audience",
    "whom such a token has to be for; may be repeated",
    parse=parse_word,
    metavar="NAME",
    many=True,
)
JWKS_URL = kind_option(
    "jwks-url",
    "where its issuer's keys are (default: where the issuer's OpenID configuration says)",
    parse=parse_url,
    metavar="URL",
)
OIDC_ISSUER = kind_option(
    "oidc-issuer",
    "let in who signs in at this OpenID Connect provider, and is allowed by --oidc-allow",
    parse=parse_url,
    metavar="URL",
)
OIDC_CLIENT = kind_option("oidc-client", "the client's id there", "", parse=parse_word, metavar="ID")
OIDC_SECRET = kind_option(
    "oidc-secret", "the client's secret there", "", parse=parse_word, metavar="SECRET", secret=True
)
OIDC_ALLOW = kind_option(
    "oidc-allow",
    "whom that lets in: an e-mail address, @DOMAIN, group:NAME, sub:ID, or * for whoever can sign in there; "
    "may be repeated",
    parse=parse_allowed,
    metavar="WHO",
    many=True,
)
OIDC_SCOPE = kind_option(
    "oidc-scope", "what is asked for there", "openid email profile", parse=parse_word, metavar="SCOPES"
)
CLIENT_CA = kind_option(
    "client-ca",
    "let in who shows a certificate in TLS that a CA in this PEM file signed",
    parse=parse_client_ca,
    metavar="FILE",
)
PASS_PREFLIGHTS = kind_option(
    "pass-preflights", "pass CORS preflights on, which browsers send without showing who asks", False
)
PASS_CREDENTIALS = kind_option(
    "pass-credentials", "pass on what a visitor was let in by: Authorization, our cookies", False
)

DOORS = (
    BASIC_AUTH,
    BEARER_TOKEN,
    VERIFY,
    PASSWORD,
    SHARE_LINKS,
    SHARE_KEY,
    JWT_ISSUER,
    JWT_AUDIENCE,
    JWKS_URL,
    OIDC_ISSUER,
    OIDC_CLIENT,
    OIDC_SECRET,
    OIDC_ALLOW,
    OIDC_SCOPE,
    CLIENT_CA,
    PASS_PREFLIGHTS,
    PASS_CREDENTIALS,
)
ACCESS: tuple[KindOption, ...] = (ALLOW, DENY, *DOORS)
"""What a kind declares whose visitors may have to show who they are."""

_NEEDS = (
    (JWT_AUDIENCE, (JWT_ISSUER,)),
    (JWKS_URL, (JWT_ISSUER,)),
    (JWT_ISSUER, (JWT_AUDIENCE,)),
    (OIDC_ISSUER, (OIDC_CLIENT, OIDC_SECRET, OIDC_ALLOW)),
    (OIDC_CLIENT, (OIDC_ISSUER,)),
    (OIDC_SECRET, (OIDC_ISSUER,)),
    (OIDC_ALLOW, (OIDC_ISSUER,)),
    (OIDC_SCOPE, (OIDC_ISSUER,)),
)
"""What each goes with."""

_OPENS = (
    BASIC_AUTH,
    BEARER_TOKEN,
    VERIFY,
    PASSWORD,
    SHARE_LINKS,
    SHARE_KEY,
    JWT_ISSUER,
    OIDC_ISSUER,
    CLIENT_CA,
)
"""What lets somebody in."""


def _has(options: Mapping[str, Any], option: KindOption) -> bool:
    return options.get(option.key, option.default) not in (option.default, None, ())


def check_access(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: the options do not go together."""
    Admission.check(options)
    for option in DOORS:
        value = options.get(option.key)
        if isinstance(value, tuple) and len(value) > MAX_EACH:
            raise ConfigError(f"{option.flag} is given {len(value)} times: {MAX_EACH} are possible")
    users = [user.name for user in options.get(BASIC_AUTH.key) or ()]
    for name in users:
        if users.count(name) > 1:
            raise ConfigError(f"--basic-auth has the user {name} twice: leave one of them out")
    for option, needed in _NEEDS:
        if _has(options, option):
            for each in needed:
                if not _has(options, each):
                    raise ConfigError(f"{option.flag} goes with {each.flag}: give both, or neither")
    if _has(options, SHARE_LINKS) and _has(options, SHARE_KEY):
        raise ConfigError("--share-links and --share-key both say whose links count: leave one of them out")
    for option in (PASS_PREFLIGHTS, PASS_CREDENTIALS):
        if _has(options, option) and not any(_has(options, each) for each in _OPENS):
            raise ConfigError(f"{option.flag} is for tunnels that ask who visits: add --password or the like")


def check_hashed(options: Mapping[str, Any]) -> None:
    """
    On the server: whether secrets have come as they may, and not as they are, and files as what is in them.

    @raise ConfigError: an agent sent one that it should have hashed, or the path of a file of its own.
    """
    for option in (BASIC_AUTH, BEARER_TOKEN, PASSWORD):
        value = options.get(option.key) or ()
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Given) or (isinstance(each, User) and each.plain):
                raise ConfigError(f"{option.key} was not hashed: agents send it as docs/access.md says")
    if isinstance(options.get(CLIENT_CA.key), CAFile):
        raise ConfigError("client-ca is no certificate in PEM form: agents send what is in the file")


def access(options: Mapping[str, Any]) -> list[Any]:
    """The rules of a tunnel, in order. @param options: the values of all options, by key."""
    rules: list[Any] = []
    if options.get(ALLOW.key) or options.get(DENY.key):
        rules.append(Addresses(Admission(options).admits))
    doors = _doors(options)
    if doors:
        rules.append(
            Authentication(
                doors,
                preflights=options.get(PASS_PREFLIGHTS.key, False),
                pass_on=options.get(PASS_CREDENTIALS.key, False),
            )
        )
    return rules


def _doors(options: Mapping[str, Any]) -> list[Door]:
    """The doors of a tunnel. Those whose check is a hash of a few bytes come first."""
    doors: list[Door] = []
    if key := options.get(SHARE_KEY.key):
        doors.append(ShareLinks(key))
    if password := options.get(PASSWORD.key):
        doors.append(PasswordPage(password))
    if tokens := options.get(BEARER_TOKEN.key):
        doors.append(BearerTokens(tokens))
    if signatures := options.get(VERIFY.key):
        doors.append(Webhooks(signatures))
    if users := options.get(BASIC_AUTH.key):
        doors.append(BasicAuth(users))
    if issuer := options.get(JWT_ISSUER.key):
        doors.append(JsonWebTokens(issuer, options[JWT_AUDIENCE.key], options.get(JWKS_URL.key) or ""))
    if issuer := options.get(OIDC_ISSUER.key):
        client = Client(
            issuer, options[OIDC_CLIENT.key], options[OIDC_SECRET.key], options.get(OIDC_SCOPE.key) or ""
        )
        doors.append(OpenId(client, options[OIDC_ALLOW.key]))
    if cas := options.get(CLIENT_CA.key):
        doors.append(ClientCertificates(cas))  # the last: see there
    return doors
