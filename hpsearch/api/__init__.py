"""What Python code calls: `run`, `Results`, and `trial`, which trains one configuration outside of a sweep."""
