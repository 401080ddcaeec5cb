"""The packages of the wheel: those of the source, and the bundles, which lie outside of it."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["monai_mamba*"]), "monai_mamba.bundles"])
