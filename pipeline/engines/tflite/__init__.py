"""TensorFlow Lite (LiteRT)."""
