"""Who does the work: scanner, transport, worker, guest processes. Touches the world, reports, never appends to the log."""
