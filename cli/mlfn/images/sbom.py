"""The bill of materials of an image, as CycloneDX JSON: packages, interpreter, base, model.

The same image gives the same bytes: the serial number is made of the image's digest, the time is the build's epoch.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from mlfn.function import ModelPackage
from mlfn.images.base_python import BasePython
from mlfn.images.contents import BlobSource
from mlfn.images.referrers import Attachment

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component

__all__ = ["CYCLONEDX", "Materials", "attachment", "bill_of_materials"]

CYCLONEDX = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.UUID("c0a1f0de-3d5a-5b0e-9d7e-6d6c666e7362")


@dataclass(frozen=True, slots=True)
class Materials:
    """Say what an image is made of."""

    name: str
    image_digest: str
    architecture: str
    base_digest: str
    python: BasePython
    packages: tuple[Mapping[str, str], ...]
    """Name, version and licence of each."""
    model: ModelPackage
    epoch: int


def bill_of_materials(materials: Materials) -> bytes:
    """Return the document."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    image = Component(
        name=materials.name,
        type=ComponentType.CONTAINER,
        version=materials.image_digest,
        bom_ref="image",
        hashes=_hashes(materials.image_digest),
    )
    tool = Component(name="mlfn", type=ComponentType.APPLICATION, version=version("mlfn"), bom_ref="mlfn")
    metadata = BomMetaData(
        component=image, timestamp=datetime.fromtimestamp(materials.epoch, UTC), tools=ToolRepository(components=[tool])
    )
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, materials.image_digest),
        metadata=metadata,
        components=_components(materials),
    )
    bom.register_dependency(image, list(bom.components))
    return JsonV1Dot6(bom).output_as_string(indent=None).encode()


def attachment(materials: Materials) -> Attachment:
    """Return the document as it is attached to the image."""
    return Attachment(CYCLONEDX, BlobSource.of_bytes(bill_of_materials(materials), CYCLONEDX))


def _components(materials: Materials) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType

    yield from _packages(materials.packages)
    yield Component(
        name="mlfn-runtime", type=ComponentType.APPLICATION, version=version("mlfn"), bom_ref="mlfn-runtime"
    )
    yield Component(
        name="python",
        type=ComponentType.PLATFORM,
        version=materials.python.patch or materials.python.version,
        bom_ref="python",
    )
    yield Component(
        name="base",
        type=ComponentType.CONTAINER,
        version=materials.base_digest,
        bom_ref="base",
        hashes=_hashes(materials.base_digest),
    )
    yield Component(
        name=materials.model.entry,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        version=materials.model.digest,
        bom_ref="model",
        hashes=_hashes(materials.model.digest) if len(materials.model.files) == 1 else (),
    )


def _packages(packages: Iterable[Mapping[str, str]]) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from packageurl import PackageURL

    for package in packages:
        purl = PackageURL("pypi", None, package["name"].lower().replace("_", "-"), package["version"])
        yield Component(
            name=package["name"],
            type=ComponentType.LIBRARY,
            version=package["version"],
            purl=purl,
            bom_ref=purl.to_string(),
            licenses=[DisjunctiveLicense(name=package["licence"])] if package["licence"] else (),
        )


def _hashes(digest: str) -> tuple[HashType, ...]:
    from cyclonedx.model import HashAlgorithm, HashType

    return (HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:")),)
