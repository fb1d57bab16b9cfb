"""params.yaml: its schema, reading it, and every mistake in it named with its line."""
