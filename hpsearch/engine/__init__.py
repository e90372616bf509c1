"""Decides on trials without Ray: which is next, what a report or a failure leads to, what is recorded."""
