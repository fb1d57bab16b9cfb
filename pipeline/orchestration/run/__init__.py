"""A build: its lock, its server, its stages as processes."""
