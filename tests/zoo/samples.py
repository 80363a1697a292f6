"""Torch modules and a function as a user would write them, in a file of their own, which is then carried."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

WEIGHTS = {"first": 2.0, "second": -1.0}


def weighed(rows):
    """A model that is a function, with a constant of its module."""
    table = np.asarray(rows)
    return WEIGHTS["first"] * table[:, 0] + WEIGHTS["second"] * table[:, 1]


class PairNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, first, second):
        return torch.relu(self.left(first)) + self.right(second)


class LanguageNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, input_ids, mask):
        weights = mask.unsqueeze(-1).to(torch.float32)
        return self.out((self.words(input_ids) * weights).sum(1))


class DictNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.price, self.risk = nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return {"price": self.price(hidden), "risk": torch.softmax(self.risk(hidden), -1)}


class TupleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.deviation = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.mean(x), self.deviation(x).exp()


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.layer(x).mean(1))
