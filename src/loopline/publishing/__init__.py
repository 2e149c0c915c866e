"""Documents people read."""
