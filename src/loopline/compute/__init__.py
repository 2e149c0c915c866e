"""Where data work runs: the same function over the same pieces, here or on a cluster."""
