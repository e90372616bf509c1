"""What happens to trials: which is next, what a report or a failure leads to, what is recorded. No Ray, no torch."""
