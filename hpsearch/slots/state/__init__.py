"""What a process looks like between two trials: put back where that is safe, told where it is not."""
