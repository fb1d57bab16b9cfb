"""Task `sentence_embedding`: texts in, unit-length vectors out; a student learns the teacher's vectors."""
