"""What setup.cfg requires and constraints.txt pins."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def required(*extras: str) -> dict[str, Requirement]:
    """Return the requirements of the package and of these extras by their names."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    requirements = [Requirement(line) for text in texts for line in text.splitlines() if line]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pinned() -> dict[str, str]:
    """Return the versions of constraints.txt by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins.items()}


def lowest() -> dict[str, str]:
    """Return :func:`pinned` with the lowest version for each package that setup.cfg gives one, but for torch."""
    bounds = {
        name: specifier.version
        for name, requirement in required("onnx", "bioimageio").items()
        for specifier in requirement.specifier
        if specifier.operator == ">=" and name != "torch"
    }
    return pinned() | bounds


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest().items()))
