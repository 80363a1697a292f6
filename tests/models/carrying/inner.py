"""Imported by a helper, which it imports in turn."""

import helper

CONSTANT = 7


class Root:
    def weight(self):
        return helper.doubled(CONSTANT)
