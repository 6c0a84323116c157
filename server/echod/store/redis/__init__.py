"""The store in Redis: a batch is one pipeline on one connection."""
