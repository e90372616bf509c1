"""Specs: from YAML to a checked `Sweep`, and back."""
