"""Detection of memory leaks: tensors and host memory that grow from epoch to epoch, and what holds the tensors."""
