"""The contract: what a project promises, in one file."""
