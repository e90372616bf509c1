"""The training loop in plain PyTorch; nothing here imports Ray, the ledger or the slots.

A training function meets these modules through `hpsearch.current_trial`, `hpsearch.report`, `hpsearch.fit` and
`hpsearch.shared_data`.

The trial as its function sees it:

    context.py        `TrialContext`, `current_trial` and `report`
    environment.py    rank and device as `torchrun` sets them, and the number of DataLoader workers
    stepper.py        runs any trainable one epoch at a time
    state.py          the objects registered with `keep`
    checkpoint.py     checkpoint files that survive a crash
    stateful.py       what can be kept: `state_dict` and `load_state_dict`
    shards.py         the state of a model split by FSDP
    user_code.py      which files belong to the user

The training loop:

    fit.py            `fit` and its arguments
    epochs.py         the loop over epochs, and the metrics of each
    step.py           one optimizer step
    evaluation.py     loss and metrics on the validation set
    schedule.py       learning rate schedules
    precision.py      autocast, gradient scaling and TF32
    ema.py            the exponential moving average of the weights
    metrics.py        metrics for `fit(metrics=...)`
    pytree.py         batches that are lists and dicts of tensors
    rng.py            seeds and random states

Several processes, and too little memory:

    parallel.py       process groups, DistributedDataParallel and reductions over ranks
    gradient_sync.py  the all-reduce of gradients, also when one rank cannot finish a step
    oom.py            smaller micro-batches after running out of memory
    snapshot.py       a copy of all state, from which an epoch is repeated

Folders:

    data/             loaders, samplers, and data sets that trials share
    leaks/            detection of tensors that accumulate, and of the variable that holds them
"""
