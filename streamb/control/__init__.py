"""The control side: assembles the platform, and offers the verbs that API, CLI and jobs call.

Import from its modules: a gateway needs only `observations`, and should not load a database for it.
"""
