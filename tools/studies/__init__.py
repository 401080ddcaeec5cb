"""The studies of `compare_networks.py`, as JSON files, and their report."""
