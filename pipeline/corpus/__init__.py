"""Texts to train and to judge on: where they come from, how they are cleaned and how they are split."""
