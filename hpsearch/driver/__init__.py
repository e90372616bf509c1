"""One sweep, from the lock on it to its last table: the process that the verb `sweep` and `hpsearch.run` are."""
