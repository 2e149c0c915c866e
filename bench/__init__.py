"""Each headline figure beside its peers, in one run."""
