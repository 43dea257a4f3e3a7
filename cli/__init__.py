"""Front doors and wiring: parse, call, render; the composition of log, decider, promoter, projector and sockets."""
