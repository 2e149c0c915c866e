"""The story on real flights: `loopline demo`."""
