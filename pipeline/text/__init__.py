"""Texts: where they come from, how they are split and tokenized, and what is known of them."""
