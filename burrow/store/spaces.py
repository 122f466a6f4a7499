"""The spaces of notes that more than one module uses."""

CERTIFICATES = "certificates"
"""Key and chain in PEM form, by name."""

ACCOUNTS = "acme-accounts"
"""The key of our account in PEM form, by the URL of the CA's directory."""

LIMITS = "acme-limits"
"""When what was ordered from a CA; such notes have a week at most."""

ERRORS = "certificate-errors"
"""Why the last renewal failed, by name."""

UPKEEP = "upkeep"
"""When a server last did the upkeep, in seconds since the epoch."""

AUDIT = "audit"
"""Who changed what: see L{burrow.server.audit}."""

SIGN_INS = "sign-ins"
"""Who signed in to the dashboard, by the SHA-256 of the cookie's secret: these have half a day."""

LASTING = (CERTIFICATES, ACCOUNTS)
"""The spaces that a Redis which lost something is asked for: see L{burrow.store.redis.guard}."""
