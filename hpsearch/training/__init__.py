"""The training loop in plain PyTorch: one file for each concern, and nothing here imports Ray or the slots.

context.py     who am I: rank, device, seed, data; `keep` and `report`
environment.py the same, where torchrun started this process
stepper.py     any trainable, one row at a time
fit.py         what a user calls
epochs.py      the loop: epochs, rows
step.py        one optimizer step
evaluation.py  loss and metrics of the validation set
schedule.py    learning rates
ema.py         the average of the weights
oom.py         smaller pieces where memory is short
snapshot.py    a copy of all state, to begin an epoch again
exchange.py    gradients over ranks, also when one of them can't go on
nested.py      batches that are lists and dicts of tensors
data/          loaders, the samples of each rank, data sets that all trials share
leaks/         tensors that pile up, and which variable keeps them
user_code.py   which files are the user's
parallel.py    process groups and DistributedDataParallel
precision.py   autocast, gradient scaling, TF32
metrics.py     what can be handed to `fit(metrics=...)`
rng.py         seeds and random states
state.py       what a trial keeps over a restart
checkpoint.py  files that survive a crash
"""
