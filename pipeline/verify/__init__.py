"""Compares every export with the model that it came from, and judges it on the task."""
