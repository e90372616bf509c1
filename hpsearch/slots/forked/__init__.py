"""`isolation: process`: a rank has each attempt run in a new process, forked from the preload server of its node."""
