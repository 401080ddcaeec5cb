"""Label maps compared, and scans altered, for the commands that measure accuracy and robustness."""
