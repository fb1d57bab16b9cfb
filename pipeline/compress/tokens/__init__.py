"""Distilling a decoder from one with another tokenizer: the teacher's probabilities of the student's next tokens."""
