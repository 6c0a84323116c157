"""The article's own servers and clients, one file each, to be read one after the other.

    serial → threads → gevent_group → gevent_streamserver
                     → asyncio_streams → asyncio_protocol
                     → node_callbacks.mjs → node_async.mjs
    client_gevent, client_asyncio: the article's workload.    timeout: gevent's, in pure Python.

None imports another, or echod: what they repeat is what can be compared. `docs/variants.md`
says what each is, and `tests/contract/test_plain_port.py` holds all to PROTOCOL §1.
"""
