"""The report of a sweep: one HTML file, made from the ledger alone, that needs no network.

`results/analysis/findings.py` reads the sweep. `summary.py`, `sections.py`, `failures.py`, `origin.py` and `tables.py`
turn it into elements, `write.py` puts them together, and `results/html/page.py` makes the file. Elements escape all
texts, so that nothing that a user wrote can become markup.
"""
