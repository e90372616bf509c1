"""The trial store of a home folder: every sweep, trial and report as it happens, for tables, reuse and resuming."""
