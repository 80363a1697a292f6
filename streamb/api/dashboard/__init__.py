"""HTML pages for people: the platform's status, and the description of the API."""
