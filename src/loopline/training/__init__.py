"""A model from a snapshot, and the record of how."""
