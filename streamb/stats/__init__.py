"""Statistics from counts: exact bounds, tests that may be looked at at any time, percentiles and distances.

Nothing here imports anything of streamb or a heavy library: the Controller calls it every second.
"""
