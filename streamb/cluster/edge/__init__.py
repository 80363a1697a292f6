"""The edge: one HAProxy per node in front of gateways and Console, and a Python stand-in where there is none."""
