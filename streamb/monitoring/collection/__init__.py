"""How counts get from replicas and gateways to the Monitor, and are added up there, each push once."""
