"""What Python code calls: `run`, `Results`, and one trial by hand."""
