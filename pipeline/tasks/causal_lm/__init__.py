"""Task `causal_lm`: a text in, the rest of it out; a teacher is compressed, or distilled into a small decoder."""
