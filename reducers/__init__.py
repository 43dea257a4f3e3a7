"""What is: pure folds of events into state, one module per noun. Imports eventlog only."""
