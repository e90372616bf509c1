"""Exports of a sweep for other tools: Optuna, optuna-dashboard, TensorBoard."""
