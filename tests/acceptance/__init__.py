"""Tests with real processes."""

import pytest

pytest.register_assert_rewrite("tests.acceptance.crashes")
