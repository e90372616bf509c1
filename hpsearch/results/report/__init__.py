"""The report of a sweep: one HTML file that needs no network, made from the ledger alone.

`results/analysis/findings.py` reads what there is to tell, `sections.py` and `tables.py` put it into elements,
`results/html/page.py` makes the file. Elements (`results/html/elements.py`) escape every text, so that nothing a user
wrote can be markup.
"""
