"""What measures: servers beside each other (`bench`), and questions with a report (`experiments`).

    bench ────────┐                      ┌─▶ serving: daemons, Redis      c/: the load generators
    models ───────┤                      ├─▶ generator, compiler, cores: the load, percentiles
    scaling ──────┼─▶ session, command ──┼─▶ clocks: what was used
    shards ───────┤                      ├─▶ calm: what other programs did meanwhile
    fanout ─ peers┘                      └─▶ samples: repeats, and when two figures differ

`samples`, each `answers`, `scaling.usl` and `scaling.costs` are pure:
measurements go in, sentences and figures come out. What is written is `lab.report`'s.
"""
