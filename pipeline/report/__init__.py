"""One self-contained HTML page to decide from."""
