"""Who may do what, and how it can be shown afterwards."""
