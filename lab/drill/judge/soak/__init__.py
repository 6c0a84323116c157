"""A soak, judged: who gave signs of life in time (`figures`), in rooms (`rooms`), and what must come."""
