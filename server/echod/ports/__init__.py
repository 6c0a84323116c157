"""Where clients come in: accept, PROXY header, health check or client, the set of them."""
