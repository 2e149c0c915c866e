"""The registry as other tools see it."""
