"""Distillation, structured pruning and quantization."""
