"""The compiled inner loops and their numpy twins."""
