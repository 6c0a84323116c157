"""What drills break: `base` says what can be done; `local` and `compose` do it."""
