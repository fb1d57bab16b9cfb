"""Bardlet: from a large teacher checkpoint to verified, measured and gated models for the edge."""
