"""Alerts: what rules say becomes incidents that start, end and are told to the right receivers, once."""
