"""Searchers and stopping rules compared with other libraries on real tables: `python -m benchmarks.search`."""
