"""The Ray that a sweep runs on: starting or joining it, its nodes, its autoscaler, and whether it is alive.

What a sweep does with Ray belongs elsewhere: its trials to `slots/`, Ray Tune to `driver/tuner.py`.
"""
