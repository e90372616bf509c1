"""GPUs and CPUs as they really are: what there is, and how many trials fit on it."""
