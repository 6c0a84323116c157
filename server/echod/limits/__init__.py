"""Who may have what: places, bytes a second, bytes unsent, open files."""
