"""Finding tensors that pile up while a trial trains."""
