"""What runs a trial: a supervisor (one Tune actor for each concurrent trial) and its warm ranks (one process each)."""
