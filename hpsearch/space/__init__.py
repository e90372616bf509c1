"""The search space: domains, conditions, expressions, and the parser of a spec's `parameters`."""
