"""The spaces of notes that others read, too: C{burrow store migrate}, C{burrow certs}."""

CERTIFICATES = "certificates"
"""Key and chain in PEM form, by name."""

ACCOUNTS = "acme-accounts"
"""The key of our account in PEM form, by the CA's directory."""

LIMITS = "acme-limits"
"""What was asked of a CA, when; for L{WEEK} seconds at most."""

ERRORS = "certificate-errors"
"""Why the last renewal failed, by name."""

RELEASED = "released"
"""How a name left its token, by name, for L{DAY} seconds: nodes close its tunnel if it is open."""

UPKEEP = "upkeep"
"""When the servers did last what they do now and then, in seconds since the epoch."""

DAY = 86_400.0
WEEK = 7 * DAY

LASTING = (CERTIFICATES, ACCOUNTS)
"""Those whose notes have no time."""
