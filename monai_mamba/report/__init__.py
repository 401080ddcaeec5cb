"""Results of the bundles as one HTML file: ``python -m monai_mamba.report RESULTS_DIR``."""

from monai_mamba.report.page import write_report

__all__ = ["write_report"]
