"""What `compare_networks.py` compares: the networks of each study, its data, and how they are trained and scored."""
