"""What must survive: tokens and reservations, in memory (tests), SQLite (one machine) or Redis (many)."""
