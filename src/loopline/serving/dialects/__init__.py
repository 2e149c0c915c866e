"""One file per way of asking for a prediction."""
