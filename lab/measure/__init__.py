"""What measures: servers beside each other (`bench`), and questions with a report (`experiments`).

    bench ────────┐                      ┌─▶ serving: daemons, Redis      c/: the load generators
    models ───────┤                      ├─▶ generator, compiler, cores: the load
    scaling ──────┼─▶ session, command ──┼─▶ clocks, histogram: what was used, how long it took
    fanout ─ peers┘                      ├─▶ calm: what other programs did meanwhile
                                         └─▶ samples: repeats, and when two figures differ

`samples`, `histogram`, each `answers`, `scaling.usl` and `scaling.costs` are pure:
measurements go in, sentences and figures come out. What is written is `lab.report`'s.
"""
