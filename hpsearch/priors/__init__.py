"""What is known of a space before its sweep begins: where it comes from, what of it fits, and how it is kept."""
