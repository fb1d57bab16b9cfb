"""Decides what a build has to do, and in which order. Nothing here starts a process or asks DVC."""
