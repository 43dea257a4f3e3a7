"""A parser's own process: how it is started and read (host) and what runs inside it (shim)."""
