"""The options that limit and answer requests at the edge, and the rules that they make, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burrow.errors import ConfigError
from burrow.policy.breaker import CircuitBreaker, parse_break
from burrow.policy.compress import Compress
from burrow.policy.cors import Cors, parse_origin
from burrow.policy.https import ToHttps
from burrow.policy.interstitial import Interstitial
from burrow.policy.limits import MaxBody, RateLimit, parse_field_name, parse_requests, parse_size
from burrow.policy.paths import MAX_PATHS, parse_redirect, parse_respond, parse_rewrite
from burrow.protocols.options import KindOption, kind_option

CORS = kind_option(
    "cors",
    "let pages of this origin, or with * of all, ask; may be repeated",
    parse=parse_origin,
    metavar="ORIGIN",
    many=True,
)
CORS_CREDENTIALS = kind_option(
    "cors-credentials", "with --cors: let their requests carry cookies and the like", False
)
RATE_LIMIT = kind_option(
    "rate-limit",
    "requests that each visitor may make in a time, as in 100/m; more are answered with 429",
    parse=parse_requests,
    metavar="COUNT/UNIT",
)
RATE_LIMIT_BY = kind_option(
    "rate-limit-by",
    "with --rate-limit: tell visitors apart by this header field, as in X-Api-Key (default: by address)",
    parse=parse_field_name,
    metavar="NAME",
)
MAX_BODY = kind_option(
    "max-body",
    "bytes that the body of a request may have, as in 10M; more is answered with 413",
    parse=parse_size,
    metavar="SIZE",
)
REWRITE_PATH = kind_option(
    "rewrite-path",
    "the upstream gets another path, as in /api/*=/v2/*; may be repeated",
    parse=parse_rewrite,
    metavar="PATH=PATH",
    many=True,
)
REDIRECT = kind_option(
    "redirect",
    "send visitors of a path elsewhere (302), as in /old/*=/new/*; may be repeated",
    parse=parse_redirect,
    metavar="PATH=URL",
    many=True,
)
RESPOND = kind_option(
    "respond",
    'answer a path without the upstream, as in "/health=200 ok" or "/admin*=403"; may be repeated',
    parse=parse_respond,
    metavar="PATH=STATUS [TEXT]",
    many=True,
)
HTTPS_REDIRECT = kind_option(
    "https-redirect", "send visitors who come without TLS to the https:// URL (308)", False
)
CIRCUIT_BREAKER = kind_option(
    "circuit-breaker",
    "after so many failures in a row answer 503 for so many seconds, as in 5/30s",
    parse=parse_break,
    metavar="FAILURES/SECONDS",
)
INTERSTITIAL = kind_option(
    "interstitial", "show a page before a browser's first visit, which says that this is a tunnel", False
)
COMPRESS = kind_option(
    "compress",
    "compress answers (br, zstd, gzip) that the service did not, if the visitor asks for it",
    False,
)
PATHS = (REWRITE_PATH, REDIRECT, RESPOND)
RULES: tuple[KindOption, ...] = (
    CORS,
    CORS_CREDENTIALS,
    RATE_LIMIT,
    RATE_LIMIT_BY,
    MAX_BODY,
    *PATHS,
    HTTPS_REDIRECT,
    CIRCUIT_BREAKER,
    INTERSTITIAL,
    COMPRESS,
)


def check_rules(options: Mapping[str, Any]) -> None:
    """For a kind's C{check_options}. @raise ConfigError: the options do not go together."""
    if options.get(RATE_LIMIT_BY.key) and options.get(RATE_LIMIT.key) is None:
        raise ConfigError("--rate-limit-by says how visitors are told apart: add --rate-limit, as in 100/m")
    if options.get(CORS_CREDENTIALS.key):
        if not options.get(CORS.key):
            raise ConfigError("--cors-credentials says what allowed origins may send: add --cors ORIGIN")
        if "*" in options[CORS.key]:
            raise ConfigError(
                "with --cors * any page could ask in a visitor's name: name the origins, or leave "
                "--cors-credentials out"
            )
    if sum(len(options.get(each.key, ())) for each in PATHS) > MAX_PATHS:
        raise ConfigError(f"one tunnel answers and changes {MAX_PATHS} paths at most: leave some out")
    _check_paths(options)


def _check_paths(options: Mapping[str, Any]) -> None:
    """@raise ConfigError: a path is answered before what else is said of it could act."""
    answered: dict[Any, str] = {}
    for option in (RESPOND, REDIRECT, REWRITE_PATH):
        for each in options.get(option.key, ()):
            first = answered.get(each.pattern)
            if first is not None:
                both = f"{first} is given twice"
                if first != option.flag:
                    both = f"{first} and {option.flag} are both given"
                raise ConfigError(f"{both} for {each.pattern}, and only the first acts: leave one out")
            if option is not REWRITE_PATH:
                answered[each.pattern] = option.flag


def first_rules(options: Mapping[str, Any]) -> list[Any]:
    """Those that are asked before anybody is let in: a preflight carries no password."""
    rules: list[Any] = []
    if options.get(HTTPS_REDIRECT.key):
        rules.append(ToHttps())
    if origins := options.get(CORS.key):
        rules.append(Cors(origins, options.get(CORS_CREDENTIALS.key, False)))
    if (rate := options.get(RATE_LIMIT.key)) is not None:
        rules.append(RateLimit(rate, options.get(RATE_LIMIT_BY.key) or ""))
    if options.get(INTERSTITIAL.key):
        rules.append(Interstitial())
    return rules


def last_rules(options: Mapping[str, Any]) -> list[Any]:
    """Those that are asked once a visitor is let in: they see the path that the visitor asked for."""
    rules: list[Any] = []
    if (size := options.get(MAX_BODY.key)) is not None:
        rules.append(MaxBody(size.bytes))
    if options.get(COMPRESS.key):
        rules.append(Compress())
    if (broken := options.get(CIRCUIT_BREAKER.key)) is not None:
        rules.append(CircuitBreaker(broken))
    return [
        *rules,
        *options.get(RESPOND.key, ()),
        *options.get(REDIRECT.key, ()),
        *options.get(REWRITE_PATH.key, ()),
    ]
