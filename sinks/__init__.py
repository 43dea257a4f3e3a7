"""Where rows land: stage, promote, discard. Imports eventlog's types only."""
