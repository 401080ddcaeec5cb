"""The version of the package, in a module that imports nothing, so that every layer and the build can read it."""

__version__ = "0.1.0"
