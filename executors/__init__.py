"""Who does the work: scanner, transport, worker, guests. Touches the world, reports, never appends to the log."""
