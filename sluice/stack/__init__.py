"""The embedded parts: real servers from wheels, for the demo, the tests and daily work on one machine."""
