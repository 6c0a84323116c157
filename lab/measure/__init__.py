"""What measures: one server (`bench`), many against each other (`experiment`), their peers."""
