"""What passes through the tunnels, told to whoever listens: see L{burrow.traffic.hub}."""
