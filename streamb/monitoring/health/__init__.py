"""The health of a version: compares its metrics with their limits, and gives a verdict with reasons."""
