"""What a build has to do, and in which order: pure, without processes."""
