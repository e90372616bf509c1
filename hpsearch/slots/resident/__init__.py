"""`isolation: slot`: a rank trains trial after trial in its own process and restores its state between them."""
