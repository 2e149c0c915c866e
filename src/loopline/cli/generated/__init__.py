"""What `loopline generate` makes: one file a kind."""
