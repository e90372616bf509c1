"""The charts of a sweep: what each chart shows, and two renderers.

`description.py` defines `Chart`, a description of a picture in plain values. One module per chart makes it from records
of the ledger and tables of `results.analysis`. `interactive.py` renders it as plotly's JSON, `static.py` as PNG or SVG
with matplotlib; both draw the same description. Nothing here reads a ledger.
"""
