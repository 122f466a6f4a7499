"""The agent role: keeps tunnels open for what runs beside it."""
