"""The training loop in plain PyTorch: one file for each concern, and nothing here imports Ray or the slots.

trial.py       who am I: rank, device, seed, data; `keep` and `report`
stepper.py     any trainable, one row at a time
fit.py         the loop
data.py        loaders: batches over ranks, random states, workers
parallel.py    process groups and DistributedDataParallel
precision.py   autocast and gradient scaling
metrics.py     what can be handed to `fit(metrics=...)`
rng.py         seeds and random states
checkpoint.py  files that survive a crash
"""
