"""The same store in this process, for a daemon alone and for tests."""
