"""`isolation: slot`: a rank runs all trials in its own process, whose state is restored between them."""
