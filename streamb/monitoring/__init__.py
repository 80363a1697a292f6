"""Profiles, drift, health and alerts: what the platform knows of its models in service, from mergeable summaries."""
