"""The spaces of notes that have something to be kept: what C{burrow store migrate} copies."""

CERTIFICATES = "certificates"
"""Key and chain in PEM form, by name."""

ACCOUNTS = "acme-accounts"
"""The key of our account in PEM form, by the CA's directory."""

LIMITS = "acme-limits"
"""What was asked of a CA, when; for L{WEEK} seconds at most."""

WEEK = 7 * 86_400.0
