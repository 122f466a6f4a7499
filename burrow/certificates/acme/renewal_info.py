"""Renewal information (RFC 9773): in which time the CA wants a certificate to be renewed. No I/O."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509

from burrow.certificates.acme.jws import encode
from burrow.clock import DAY, HOUR

ASK_SOONEST, ASK_LATEST = 60.0, DAY
"""Seconds until the CA is asked again, at least and at most, whatever it says (section 4.3.2)."""

ASK_USUALLY = 6 * HOUR
"""Seconds until the CA is asked again, where its answer does not say (section 4.3.3 recommends them)."""


def parse_time(text: str) -> float:
    """A time of RFC 3339, in seconds since the epoch. @raise ValueError: it is none."""
    when = datetime.datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("a time without its offset from UTC")
    return when.timestamp()


def renewal_id(certificate: x509.Certificate) -> str:
    """
    A certificate's name in renewal information (section 4.1).

    @raise ExtensionNotFound: the certificate has no authority key identifier.
    """
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    number = certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{encode(identifier.key_identifier or b'')}.{encode(serial)}"


def read_window(
    fields: dict[str, Any], retry_after: float | None, certificate: x509.Certificate
) -> tuple[float, float, float] | None:
    """
    Read the CA's answer about C{certificate}.

    @param retry_after: the answer's Retry-After, in seconds.
    @return: begin and end of the time, in seconds since the epoch, and in how many seconds to ask again.
        None if the answer is not valid, or its end is not after its begin: then any earlier answer is void,
        too (section 4.2).
    """
    try:
        window = fields["suggestedWindow"]
        start, end = (parse_time(window[key]) for key in ("start", "end"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    expires = certificate.not_valid_after_utc.timestamp()
    if end <= start or start >= expires:
        return None
    again = ASK_USUALLY if retry_after is None else min(max(retry_after, ASK_SOONEST), ASK_LATEST)
    return start, min(end, expires), again
