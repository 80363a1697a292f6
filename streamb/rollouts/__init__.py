"""Deployments: bring a model version into traffic, decided by pure functions of persisted state."""
