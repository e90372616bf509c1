"""Benchmarks of hpsearch against what it is built on: each module is a command, `python -m benchmarks.NAME`."""
