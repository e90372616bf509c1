"""The ledger: every sweep, trial and report, written as it happens; the one source of tables and, later, of resume."""
