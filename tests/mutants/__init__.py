"""Deliberate faults in the code, each with the test that must find it."""
