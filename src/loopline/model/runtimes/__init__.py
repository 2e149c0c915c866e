"""How a version without an exact plan answers: its original, in a worker process."""
