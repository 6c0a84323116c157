"""Where clients come in.

In this order, each importing only those above it:

accepting   accept in turns, on every port of a daemon
port        whom a port serves, whom it turns away, and the set of those who are here
handshake   a balancer's connection up to the end of its PROXY header
listener    the door of one port: whose header is believed
"""
