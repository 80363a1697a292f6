"""A module within a package within a package."""


class Table:
    def __init__(self, factor):
        self.factor = factor
