"""Flows of these tests see the checkout, and no settings of the user."""

from tests.build.conftest import own_environment

__all__ = ["own_environment"]
