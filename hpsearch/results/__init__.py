"""Results of a sweep, read from the ledger: rows, tables, charts, the report, and exports for other tools.

What the trials show is computed in `analysis/`; `charts/`, `html/`, `report/` and `export/` present it. The class
`Results` is in `hpsearch/api/results.py`. Neither Ray nor torch is imported here.
"""
