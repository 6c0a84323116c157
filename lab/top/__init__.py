"""`fleet top`: the fleet in a terminal, as it runs, and keys to break and mend it.

    sources ──Look──▶ model ──View──▶ screen (textual), words (text, JSON)
       ▲ what runs, and what it says of itself               │
       └───────────────── drain, kill, freeze, start … ◀ keys┘

`figures`, `cells`, `words` and `model` are pure; `sources` looks and acts, `screen` shows;
`lab.fleet.metrics` has the samples. docs/top.md says what every column means.
"""
