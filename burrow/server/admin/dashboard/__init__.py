"""The dashboard: a page at the base domain's `/` that shows, over the admin API, what the server holds."""
