"""Student architectures."""
