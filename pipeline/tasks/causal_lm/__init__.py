"""Task `causal_lm`: a text in, the rest of it out; a teacher is compressed as it is, or distilled into a small decoder."""
