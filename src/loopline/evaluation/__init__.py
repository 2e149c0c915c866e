"""What a model is worth, on rows it never saw."""
