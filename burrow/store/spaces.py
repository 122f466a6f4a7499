"""The spaces of notes that others read, too: C{burrow store migrate}, C{burrow certs}."""

CERTIFICATES = "certificates"
"""Key and chain in PEM form, by name."""

ACCOUNTS = "acme-accounts"
"""The key of our account in PEM form, by the CA's directory."""

LIMITS = "acme-limits"
"""What was asked of a CA, when; for L{WEEK} seconds at most."""

ERRORS = "certificate-errors"
"""Why the last renewal failed, by name."""

WEEK = 7 * 86_400.0

LASTING = (CERTIFICATES, ACCOUNTS)
"""Those whose notes have no time."""
