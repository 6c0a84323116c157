"""`fleet plan`: how many daemons and shards a load needs, from what was measured on this machine.

cli ─▶ results of `experiment scaling` and `fanout` ─▶ needs (pure) ─▶ a table in words
"""
