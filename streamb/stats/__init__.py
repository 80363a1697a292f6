"""Statistics of counts: exact bounds, always-valid tests, percentiles and distances.

The modules import nothing from streamb and no heavy library: the Controller calls them every second.
"""
