"""A soak, judged: signs of life (`figures`), rooms (`rooms`), and what must come of them."""
