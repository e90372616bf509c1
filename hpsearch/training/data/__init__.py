"""Data loading: which samples a rank sees in each step, loader workers, and data sets that trials share in memory."""
