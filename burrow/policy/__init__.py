"""What a tunnel's owner has the edge do with requests before the upstream gets them, and with the answers."""
