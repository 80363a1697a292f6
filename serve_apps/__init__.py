"""Serve applications with validated arguments, for `serve run` and `serve deploy` on any Ray cluster."""
