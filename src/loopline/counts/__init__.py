"""Integer counts of data, and every statistic that comes out of them."""
