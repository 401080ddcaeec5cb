"""Checks of bundles before they are shared."""
