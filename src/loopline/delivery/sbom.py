"""What is in an image, as CycloneDX has it: for scanners, and for whoever must answer for it.

It lists Loopline, its Python packages and the model. What the base image brings is the base's own
to list, or a scanner's.
"""

from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from loopline.delivery.requirements import Needed, Pin
from loopline.delivery.wheel import Wheel
from loopline.extras import require
from loopline.registry.release import Served


def sbom(
    name: str, target: str, needed: Needed, wheel: Wheel, served: Iterable[Served], now: datetime
) -> str:
    """Return the bill of materials of one target of the image called `name`, as JSON.

    Raises:
        MissingExtraError: the library that writes it is not installed.
    """
    bom = require("cyclonedx.model.bom", extra="image")
    component = require("cyclonedx.model.component", extra="image")
    model = require("cyclonedx.model", extra="image")
    output = require("cyclonedx.output", extra="image")
    schema = require("cyclonedx.schema", extra="image")
    kinds = component.ComponentType

    def hashed(digest: str) -> list[Any]:
        return [model.HashType(alg=model.HashAlgorithm.SHA_256, content=digest)]

    image = component.Component(name=name, type=kinds.CONTAINER, version=target, bom_ref="image")
    packages = {pin.name: _package(pin) for pin in needed.pins}
    own = component.Component(
        name="loopline",
        version=wheel.name.split("-")[1],
        bom_ref="loopline",
        purl=_purl("loopline", wheel.name.split("-")[1]),
        hashes=hashed(wheel.digest),
        licenses=_licences("loopline"),
    )
    models = [
        component.Component(
            name=name,
            version=str(each.version),
            type=kinds.MACHINE_LEARNING_MODEL,
            bom_ref=f"model-{each.version}",
            hashes=hashed(each.bundle_digest),
        )
        for each in served
    ]
    made = bom.Bom(
        components=[own, *packages.values(), *models],
        metadata=bom.BomMetaData(component=image, timestamp=now),
        serial_number=uuid5(NAMESPACE_URL, f"{name} {target} {now} {wheel.digest} {needed.text()}"),
    )
    for known, below in needed.edges.items():
        if known in packages:
            made.register_dependency(
                packages[known], [packages[each] for each in below if each in packages]
            )
    made.register_dependency(own, list(packages.values()))
    made.register_dependency(image, [own, *models])
    writer = output.make_outputter(made, schema.OutputFormat.JSON, schema.SchemaVersion.V1_6)
    return str(writer.output_as_string(indent=1)) + "\n"


def _package(pin: Pin) -> Any:
    component = require("cyclonedx.model.component", extra="image")
    return component.Component(
        name=pin.name,
        version=pin.version,
        bom_ref=f"{pin.name}-{pin.version}",
        purl=_purl(pin.name, pin.version),
        licenses=_licences(pin.name),
    )


def _purl(name: str, version: str) -> Any:
    return require("packageurl", extra="image").PackageURL(type="pypi", name=name, version=version)


def _licences(name: str) -> list[Any]:
    """Return the licence a package names as an SPDX expression, or its classifiers' names."""
    make = require("cyclonedx.contrib.license.factories", extra="image").LicenseFactory()
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return []
    if "License-Expression" in about:
        return [make.make_from_string(about["License-Expression"])]
    said = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or ()
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    return [make.make_with_name(each) for each in sorted(set(said))]
