"""Where a model can run: one file a platform, whose name is what people write."""
