"""What makes every test quick and none less true: servers on loopback notice at once that their test is over."""

import socketserver

socketserver.BaseServer.serve_forever.__defaults__ = (0.01,)
"""Seconds between two looks for a shutdown; the standard library's half a second is what each server's test waits."""
