"""A data file to a project that runs: every guess is written down with its reason."""
