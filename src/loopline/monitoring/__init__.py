"""What became of the promises, from the log."""
