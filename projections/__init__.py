"""How we look at it: disposable DuckDB read models, rebuilt from the log. Imports reducers and eventlog."""
