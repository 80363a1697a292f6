"""How a version does against its limits: a verdict with reasons."""
