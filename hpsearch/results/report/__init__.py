"""The report of a sweep: one HTML file that needs no network, made from the ledger alone.

`findings.py` reads what there is to tell, `sections.py` and `tables.py` put it into elements, `page.py` makes the file.
Elements (`html.py`) escape every text, so that nothing a user wrote can be markup.
"""
