"""The training code that the YAML files in `search_spaces/` name: one file each, written as a user would write it."""
