"""Conformance suites and small fakes, for adapter authors."""
