"""The watch report: what became of the promises, as charts, tables and one page."""
