"""How a version answers: its exact plan, or its original in a worker."""
