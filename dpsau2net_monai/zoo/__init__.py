from .bioimageio import write_bioimageio
from .package import package_bundle
