"""URLs as treq's client takes them."""

from __future__ import annotations

from hyperlink import EncodedURL


class _Written(EncodedURL):
    """Asked as it is written: hyperlink encodes each host as a name, and fails for addresses of IPv6."""

    def to_uri(self) -> _Written:
        """See L{EncodedURL}."""
        return self


def asked_url(url: str) -> EncodedURL:
    """
    A URL whose host may be an IPv6 address in brackets (RFC 3986 section 3.2.2), for treq's C{request}.

    @raise ValueError: it is no URL.
    """
    asked = EncodedURL.from_text(url)
    return _Written.from_text(url) if ":" in asked.host else asked
