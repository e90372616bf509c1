"""GPUs and CPUs: what this machine has, how busy it is, and how many trials fit on it.

Nothing here knows Ray, torch or sweeps that run; which trial runs where is decided in `driver/` and `slots/`.
"""
