"""What people read, and the programs that keep it true: `docs.generate` writes pages, `docs.rerun` runs commands."""
