"""Pages for people: what runs, and the description of the API."""
