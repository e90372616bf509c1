"""Pictures of a sweep: what each shows (`description.py` and a file for each picture) and two ways to draw them.

`interactive.py` makes plotly's JSON, `static.py` PNG and SVG with matplotlib; both draw the same `Chart`. Nothing here
reads a ledger: charts are made from records and from the plain tables of `results`.
"""
