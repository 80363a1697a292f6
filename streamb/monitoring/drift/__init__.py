"""Drift: compares live features, predictions and labels with the baseline."""
