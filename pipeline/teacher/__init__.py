"""Finds a teacher's checkpoint, checks it before it is parsed, and runs it."""
