"""Uses of finished runs: scores, predictions and comparisons."""
