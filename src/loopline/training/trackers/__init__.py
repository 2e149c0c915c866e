"""Runs as other tools see them."""
