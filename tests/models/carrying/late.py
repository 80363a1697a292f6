"""Only imported inside a function."""


def bonus():
    return 1000
