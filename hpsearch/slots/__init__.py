"""What runs trials: slots, each with a supervisor (a Ray Tune actor) and one rank for each process of a trial.

Calls go down in this order: `supervisor`, `slot`, `rank_group`, `rank`, then `forked/` (a new process for each attempt)
or `resident/` (one process for all trials). `protocol` is what the driver and a slot send each other.
"""
