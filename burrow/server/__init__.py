"""The server role: what visitors reach, and what agents connect to."""
