"""`kubectl rewriter`: what a person asks a release for, and what a release tells a person.

For people at a terminal and for scripts. It reads objects and writes annotations and Events, with the rights of whoever
calls it; it never writes a spec or a status, and it decides nothing that the operator does not decide again.
"""
