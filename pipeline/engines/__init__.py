"""Exports to the inference engines: one folder an engine, behind one Protocol. Nothing here knows a task."""
