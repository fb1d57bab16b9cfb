"""One thin entry point a DVC stage: parse, load, call, save."""
