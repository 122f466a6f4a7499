"""Kinds of tunnels for Burrow: redis, and lines."""
