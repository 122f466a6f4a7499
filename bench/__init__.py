"""Measures Burrow beside nginx, a direct connection and other tunnels: see docs/performance.md."""
