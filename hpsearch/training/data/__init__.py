"""Data for training: loaders, the share of each rank, data sets that trials share."""
