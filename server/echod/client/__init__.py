"""One client: what is read, what its lines mean, what is owed, how it ends."""
