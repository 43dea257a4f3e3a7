"""Owns the limits that a person may name and a sentinel holds to; loaded by the help of every verb."""

from __future__ import annotations

DAYS_MAX = 36_500  # that rejected rows may be kept for, or be old
JOBS_PER_LEASE_MAX = 200  # as commands/lease.py has it, which would take long to load for the help of a verb
