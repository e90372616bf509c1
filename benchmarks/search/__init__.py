"""Searchers and stopping rules against their peers on real tables: `python -m benchmarks.search`."""
