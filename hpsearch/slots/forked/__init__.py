"""The process of each trial: the server that it is forked from, the channel to it, and what it runs."""
