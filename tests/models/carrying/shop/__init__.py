"""A package that exports names of its modules."""

from .net import Net, pick

VERSION = "1.0"
