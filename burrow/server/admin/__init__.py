"""The admin API of the server, `/_burrow/api/v1/`: see docs/admin-api.md and L{burrow.server.admin.paths}."""

API_PATH = "/_burrow/api/v1"
"""Where the admin API is, on the base domain and on C{--admin}'s address."""
