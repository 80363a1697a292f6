"""The code that a model brings: collects its definitions, writes them into the artifact, and loads them again."""
