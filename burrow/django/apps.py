"""What is done when Django starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

LOCAL = (".localhost", "127.0.0.1", "[::1]")
"""What Django itself allows with DEBUG while ALLOWED_HOSTS is empty, which it then is no more."""


class BurrowConfig(AppConfig):  # type: ignore[misc]
    """See L{burrow.django}."""

    name = "burrow.django"
    label = "burrow"
    verbose_name = "Burrow"

    def ready(self) -> None:
        """Django has read its settings."""
        line = allow(settings, os.environ)
        if line and serves(sys.argv, os.environ):
            print(line, file=sys.stderr, flush=True)


def serves(words: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether this is the process of C{runserver} that serves: another restarts it when a file changes."""
    return "runserver" in words[1:2] and ("--noreload" in words or environ.get("RUN_MAIN") == "true")


def allow(settings: Any, environ: Mapping[str, str]) -> str:
    """
    With DEBUG, have Django take requests of the tunnel in BURROW_URL: its host, forms that its pages post,
    and that visitors come by HTTPS. Without DEBUG nothing is changed.

    @return: a line for the terminal; empty without a tunnel.
    @raise ImproperlyConfigured: BURROW_URL is no URL; the text says what would be.
    """
    url = environ.get("BURROW_URL", "")
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise ImproperlyConfigured(
            f"BURROW_URL={url!r} is no URL of a tunnel: start by `burrow run -- python manage.py runserver`, "
            "which sets it, or write one as in https://demo.example.com"
        )
    if not settings.DEBUG:
        return f"burrow: DEBUG is off, so burrow.django changes nothing: write {host} into ALLOWED_HOSTS"
    allowed = list(settings.ALLOWED_HOSTS) or list(LOCAL)
    settings.ALLOWED_HOSTS = [*allowed, *([] if host in allowed else [host])]
    origin = f"{parts.scheme}://{parts.netloc}"
    trusted = list(settings.CSRF_TRUSTED_ORIGINS)
    settings.CSRF_TRUSTED_ORIGINS = [*trusted, *([] if origin in trusted else [origin])]
    if parts.scheme == "https" and settings.SECURE_PROXY_SSL_HEADER is None:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    return f"burrow: visitors reach this at {url}"
