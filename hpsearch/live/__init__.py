"""What one sees of a sweep while it runs: on a terminal, in a notebook, in a pipe, and from another terminal."""
