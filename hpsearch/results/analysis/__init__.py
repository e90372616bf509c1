"""Analyses of a sweep: best trials, curves, rungs, importance, ranges to widen, failures, comparison of sweeps."""
