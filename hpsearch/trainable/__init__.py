"""Finds and loads the user's code, hashes it for fingerprints, and keeps a copy of it for each sweep."""
