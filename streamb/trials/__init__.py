"""The trial of a version, before it may take traffic: a fresh process loads it as a replica would, and asks it."""
