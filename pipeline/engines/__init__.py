"""Exports to the inference engines: one module an engine, behind one Protocol. Nothing here knows a task."""
