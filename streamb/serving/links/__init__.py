"""Direct links from a gateway to the replicas of a model version: frames, handshake, both ends."""
