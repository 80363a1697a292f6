"""Jobs: commands that run beside the platform."""
