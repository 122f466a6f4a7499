"""Burrow: a self-hosted tunnel, and a framework for Twisted protocols over WebSockets."""

__version__ = "0.1.0"
