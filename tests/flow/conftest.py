"""Flows of these tests see the checkout, and no settings of the user."""

from tests.orchestration.conftest import own_environment

__all__ = ["own_environment"]
