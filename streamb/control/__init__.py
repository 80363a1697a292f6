"""Everything below, put together once: the platform, and the verbs that API, CLI and jobs reach it by.

Import from the modules: a gateway needs `observations` only, and should not load a database for it.
"""
