"""Owns evidence that is made up: event logs of any size, with the damage of real ones, and the truth about both."""
