"""Owns the declaration of what a materialization depends on; planning, events and explanations all use it.

A component that is not declared here cannot change a decision, and one that is cannot be forgotten by an explanation.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from eventlog.ids import (
    ArtifactHash,
    ConfigHash,
    EnvHash,
    MaterializationKey,
    OutputName,
    SchemaHash,
    SourceHash,
    TargetKey,
    canonical_hash,
)


class TargetComponents(Struct, frozen=True, kw_only=True):
    """Where an output goes and in what shape, in the order in which the key hashes them."""

    output_name: OutputName
    sink_uri: str
    sink_mode: str
    table_name: str
    schema_hash: SchemaHash


class MaterializationComponents(Struct, frozen=True, kw_only=True):
    """All that decides whether an output exists already, in the order in which the key hashes them."""

    output_target_key: TargetKey
    source_hash: SourceHash
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    config_hash: ConfigHash


def target_key(components: TargetComponents) -> TargetKey:
    """Return the identity of an output's target."""
    return TargetKey(canonical_hash(*msgspec.structs.astuple(components)))


def materialization_key(components: MaterializationComponents) -> MaterializationKey:
    """Return the identity of one output made from one content by one parser in one environment and configuration."""
    return MaterializationKey(canonical_hash(*msgspec.structs.astuple(components)))
