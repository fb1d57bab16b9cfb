"""What several students are built of."""
