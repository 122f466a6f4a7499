"""Kinds of tunnels: what "http", "tcp"... mean, on both roles."""
