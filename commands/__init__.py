"""What should happen: pure deciders, one module per noun, and the loop that decides. Imports reducers and eventlog."""
