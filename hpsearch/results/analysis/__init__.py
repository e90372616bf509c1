"""What a sweep shows: best trials, curves, rungs, importance, failures."""
