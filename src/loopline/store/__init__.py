"""Where things are kept: database, ledger, objects, tables."""
