"""Priors: outcomes of trials from elsewhere that a search method learns from before the first trial of a sweep.

`sources.py` finds them, `tables.py` reads them from CSV files, `mapping.py` maps them into the sweep's space, and
`prior_file.py` keeps them for later runs. How a method learns from them is in `search/`.
"""
