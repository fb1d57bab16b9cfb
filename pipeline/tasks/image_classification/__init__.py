"""Task `image_classification`: images in, one logit a class out; a student learns the teacher's logits."""
