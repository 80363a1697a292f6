"""Only imported inside a method."""


def bonus():
    return 10_000
