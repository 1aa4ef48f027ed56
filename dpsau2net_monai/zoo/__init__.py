from .bioimageio import write_bioimageio
from .package import package_bundle

__all__ = ["package_bundle", "write_bioimageio"]
