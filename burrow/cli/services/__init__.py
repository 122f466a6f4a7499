"""C{burrow service}: agent and server as services of the system, by systemd or launchd."""
