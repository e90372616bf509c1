"""Results in other tools' formats: Optuna, TensorBoard."""
