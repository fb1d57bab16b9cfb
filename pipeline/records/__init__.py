"""Every JSON artifact as a frozen model, read and written in one place."""
