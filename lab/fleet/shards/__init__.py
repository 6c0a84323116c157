"""Shards come and go while the fleet serves: `fleet shards` (docs/adr/0026, docs/shards.md).

    cli ──▶ membership   nodes join a cluster, and leave it
     │  └─▶ mover        slots move, a batch at a time; what was stopped half-way is finished
     │        └─▶ plan   which slots go where (pure)
     └────▶ cluster      what the nodes say, and what they are asked

A local fleet and the nodes of others (containers, machines) are the same to all but `cli`: that
asks `lab.fleet.control` to start a local shard's processes, and to end them.
"""
