"""Pruning the channels of convolutions."""
