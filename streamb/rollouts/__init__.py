"""Deployments: how a model version comes to answer traffic, decided by pure functions over persisted state."""
