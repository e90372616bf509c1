"""GPUs and CPUs: what this machine has, how busy it is, and how many trials fit on it.

Nothing here uses Ray or torch. Which trial runs where is decided in `driver/` and `slots/`.
"""
