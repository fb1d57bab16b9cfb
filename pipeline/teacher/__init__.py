"""The teacher: finding its checkpoint, checking it before it is parsed, and running it."""
