"""What Python code calls: `run`, `load`, `Results`, and `trial`, which trains one configuration outside of a sweep."""
