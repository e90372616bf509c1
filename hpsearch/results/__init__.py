"""What was found: rows and tables out of the ledger, files, and the `Results` of a sweep. Neither Ray nor torch."""
