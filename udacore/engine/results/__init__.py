"""What is made of finished runs: scores, predictions and comparisons."""
