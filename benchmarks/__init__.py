"""Measurements of streamb beside its peers; run with `make bench`. Not part of the installed package."""
