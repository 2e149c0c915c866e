"""Data read, checked, frozen and split."""
