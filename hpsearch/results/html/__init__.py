"""One HTML page without network."""
