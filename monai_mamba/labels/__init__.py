"""Label tables, and what is read from them: the regions of a tumor and the schemes of a hippocampus."""

from monai_mamba.labels.brain_measures import BRAIN, brain_measures, measure_brain
from monai_mamba.labels.color_tables import COLOR_TABLES, mgh_color_table
from monai_mamba.labels.regions import CONVENTIONS, RegionTable, TumorRegion, fitting_conventions
from monai_mamba.labels.schemes import SCHEMES, check_label_scheme
from monai_mamba.labels.tables import LABEL_FOLDER, LabelEntry, LabelTable, label_tables, other_side, without_side

__all__ = [
    "BRAIN",
    "COLOR_TABLES",
    "CONVENTIONS",
    "LABEL_FOLDER",
    "SCHEMES",
    "LabelEntry",
    "LabelTable",
    "RegionTable",
    "TumorRegion",
    "brain_measures",
    "check_label_scheme",
    "fitting_conventions",
    "label_tables",
    "measure_brain",
    "mgh_color_table",
    "other_side",
    "without_side",
]
