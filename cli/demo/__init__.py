"""Owns evidence that is made up: event logs and FIX logs of any size, with the damage of real ones, and the truth."""
