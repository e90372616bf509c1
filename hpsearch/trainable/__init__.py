"""Finding and loading the user's code, and the copy of it that a sweep keeps."""
