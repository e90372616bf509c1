"""The training code that the YAMLs in `search_spaces/` name: one file each, written as a user would write their own."""
