"""The state of a process between two trials: restored where that is safe, reported where it is not."""
