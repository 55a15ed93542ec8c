"""The long run on disk, which survives."""
