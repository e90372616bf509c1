"""Runs one sweep, from taking its lock to writing its tables, for the verbs `sweep` and `resume` and `hpsearch.run`."""
