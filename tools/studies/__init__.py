"""What `compare_networks.py` compares: the networks of each study, its data, how they are trained, and the report."""
