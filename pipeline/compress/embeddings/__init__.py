"""Distilling and pruning text encoders."""
