"""What happened: events, frames, the log and its verification. Imports nothing of ours."""
