"""
Header and trailer fields: which go on to the other side, and which do not. No I/O.

Framing fields never go on as they came: whoever writes a head says anew what was understood. Names are
compared as the most careless reader behind the edge would compare them: a CGI-like one takes
C{X_Forwarded_For}, C{X.Forwarded.For} and C{X-Forwarded-For} for one name (RFC 3875 section 4.1.18).
"""

from __future__ import annotations

from burrow.http.headers import Fields, Headers, tokens

_CANONICAL = bytes(
    ord(chr(byte).lower() if byte < 128 and chr(byte).isalnum() else "-") for byte in range(256)
)

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"content-length",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""
Fields for the next hop alone (RFC 9110 section 7.6.1, RFC 7540 section 3.2.1), and those that frame a
message.
"""

FORWARDING = frozenset(
    (
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"cf-visitor",
        b"client-cert",
        b"client-cert-chain",
        b"client-ip",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"forwarded",
        b"forwarded-for",
        b"front-end-https",
        b"proxy",
        b"proxy-client-ip",
        b"true-client-ip",
        b"wl-proxy-client-ip",
        b"x-appengine-user-ip",
        b"x-arr-clientcert",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"x-client-cert",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-envoy-external-address",
        b"x-envoy-original-path",
        b"x-host",
        b"x-original-host",
        b"x-original-remote-addr",
        b"x-original-uri",
        b"x-original-url",
        b"x-originating-ip",
        b"x-proxyuser-ip",
        b"x-real-ip",
        b"x-real-port",
        b"x-remote-addr",
        b"x-remote-ip",
        b"x-rewrite-url",
        b"x-scheme",
        b"x-ssl-client-cert",
        b"x-url-scheme",
    )
)
"""
What proxies say of a visitor, or of the request before they changed it; and C{Proxy}, which a CGI program
takes for its own setting (CVE-2016-5385). Names that begin with one of L{FORWARDING_PREFIXES}
belong to them; one prefix is of the fields by which the edge says who has signed in (Burrow-User).
"""

FORWARDING_PREFIXES = (b"x-forwarded", b"x-original-forwarded", b"burrow-user")

_FOR_ALL = frozenset(
    (
        b"accept",
        b"age",
        b"allow",
        b"authentication-info",
        b"authorization",
        b"cache-control",
        b"clear-site-data",
        b"cookie",
        b"cookie2",
        b"date",
        b"etag",
        b"expect",
        b"expires",
        b"from",
        b"host",
        b"last-modified",
        b"link",
        b"location",
        b"max-forwards",
        b"origin",
        b"permissions-policy",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"referrer-policy",
        b"refresh",
        b"retry-after",
        b"server",
        b"set-cookie",
        b"set-cookie2",
        b"strict-transport-security",
        b"trailer",
        b"user-agent",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
    )
)
_FOR_ALL_PREFIXES = (
    b"accept-",
    b"access-control-",
    b"burrow-",
    b"content-",
    b"cross-origin-",
    b"if-",
    b"sec-",
    b"x-content-type-",
    b"x-frame-",
    *FORWARDING_PREFIXES,
)

_NO_TRAILERS = frozenset(
    (
        b"age",
        b"authentication-info",
        b"authorization",
        b"cache-control",
        b"clear-site-data",
        b"cookie",
        b"cookie2",
        b"date",
        b"expect",
        b"expires",
        b"host",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"refresh",
        b"retry-after",
        b"set-cookie",
        b"set-cookie2",
        b"strict-transport-security",
        b"trailer",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
    )
)
_NO_TRAILER_PREFIXES = (b"access-control-", b"burrow-", b"content-", b"if-", b"sec-")
_NO_FIELDS: frozenset[bytes] = frozenset()
_REWRITTEN = HOP_BY_HOP | FORWARDING | {b"host", b"x-request-id"}


def canonical(name: bytes) -> bytes:
    """A field's name as a CGI-like reader compares it: lower case, a hyphen for each other character."""
    return name.translate(_CANONICAL)


def is_forwarding(name: bytes) -> bool:
    """Whether a canonical name is one of L{FORWARDING}."""
    return name in FORWARDING or name.startswith(FORWARDING_PREFIXES)


def named_by_connection(headers: Headers) -> frozenset[bytes]:
    """
    The names, in lower case, of the fields that Connection takes away.

    Never one that is for all recipients, which RFC 9110 section 7.6.1 forbids to name there: it would take
    away what a proxy in front, or the edge, added, or what the upstream's security depends on.
    """
    connection = headers.get(b"connection")
    if not connection or (len(connection) == 1 and connection[0].lower() in HOP_BY_HOP):
        return _NO_FIELDS  # such a field goes no further anyway
    return frozenset(name for name in tokens(connection) if not _for_all(canonical(name)))


def _for_all(name: bytes) -> bool:
    return name in _FOR_ALL or name in FORWARDING or name.startswith(_FOR_ALL_PREFIXES)


def _passing(headers: Headers) -> Fields:
    """The fields that Connection does not take away."""
    named = named_by_connection(headers)
    return headers.without(named) if named else headers.fields


def for_visitor(headers: Headers) -> Fields:
    """
    Those of an answer's fields that pass as they came: none for this hop, none that frames the message, none
    that Connection takes away.
    """
    passing = _passing(headers) if b"connection" in headers else headers.fields
    return [pair for pair in passing if pair[0].translate(_CANONICAL) not in HOP_BY_HOP]


def for_upstream(headers: Headers) -> Fields:
    """
    Those of a request's fields that pass as they came: as for a visitor, and none that the edge writes
    itself.
    """
    passing = _passing(headers) if b"connection" in headers else headers.fields
    return [
        pair
        for pair in passing
        if (name := pair[0].translate(_CANONICAL)) not in _REWRITTEN
        and not name.startswith(FORWARDING_PREFIXES)
    ]


def may_be_trailer(name: bytes) -> bool:
    """
    Whether a field may stand behind a body (RFC 9110 section 6.5.1): none that frames or routes a message,
    says who somebody is, or changes how the head was to be understood.
    """
    name = canonical(name)
    return not (
        name in HOP_BY_HOP
        or name in _NO_TRAILERS
        or name.startswith(_NO_TRAILER_PREFIXES)
        or is_forwarding(name)
    )


def write_head(first_line: bytes, fields: Fields) -> bytes:
    """A head's bytes."""
    lines = [first_line]
    lines += [name + b": " + value for name, value in fields]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
