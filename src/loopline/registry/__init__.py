"""Versions, stages and releases."""
