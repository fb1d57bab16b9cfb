"""Measurements and budgets in, verdict out."""
