"""Owns the simulation of a home: sentinel, executors, people, network, target, disk and clock, driven by one seed."""

from __future__ import annotations

from tests.cli.simulation.world import ViolationError, World

__all__ = ["ViolationError", "World", "simulate"]


def simulate(seed: int) -> World:
    """Live one history to its end. Raises ViolationError, which says how to see it again."""
    world = World(seed)
    try:
        world.run()
    except ViolationError:
        raise
    except Exception as error:
        raise world.violation(f"{type(error).__name__}: {error}") from error
    return world
