"""Alerts: turns the results of rules into incidents, and notifies the right receivers of each change once."""
