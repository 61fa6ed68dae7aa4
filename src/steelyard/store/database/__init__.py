"""Which database it is, what it calls things, and which tables it has."""
