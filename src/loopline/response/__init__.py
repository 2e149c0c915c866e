"""From findings to actions."""
