"""Comparing every export with the model that it came from, and judging it on the task."""
