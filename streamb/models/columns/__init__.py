"""The columns of a model's input: learned from rows, checked in requests, given to the model in its own types."""
