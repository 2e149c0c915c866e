"""A fitted estimator to an exact float64 scoring plan: one file per kind of step or model."""
