"""The edge: one HAProxy per node in front of gateways and Console, and a replacement in Python without HAProxy."""
