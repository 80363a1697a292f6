"""The baseline against now: how far features, predictions and labels have moved."""
