"""What a column looks like: bins learnt from a baseline, and counts that fill them."""
