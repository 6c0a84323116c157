"""The wire, pure: bytes and numbers go in, values come out.

No gevent, redis, socket or clock is imported here (tests/unit/test_purity.py).

    proxy    the PROXY v2 header a balancer puts before a client's bytes
    wire     bytes to lines
    plain    lines to replies, PROTOCOL §1
    errors   what the server says before it closes, PROTOCOL §4
"""
