"""A model as a signature, a plan and a signed bundle."""
