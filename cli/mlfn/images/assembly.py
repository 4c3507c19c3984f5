"""Put one image for each architecture together, and the index over them where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from mlfn.function import Finding
from mlfn.images.assembled import Assembled, built_layers
from mlfn.images.bases import BaseImage
from mlfn.images.bytecode import Interpreter, UnpackedBase
from mlfn.images.cache import BuildCache
from mlfn.images.configuration import Ingredients, MadeLayer, image_content
from mlfn.images.content_layers import LayerMaker, model_layer
from mlfn.images.contents import Descriptor, ImageContent
from mlfn.images.findings import finding
from mlfn.images.layers import zlib_is_standard
from mlfn.images.request import Progress
from mlfn.images.sbom import Materials
from mlfn.images.wheels import WheelSources, runtime_lock

__all__ = ["PreparedBase", "assemble", "findings_of"]


@dataclass(frozen=True, slots=True)
class PreparedBase:
    """Hold a base that is ready to be built upon."""

    image: BaseImage
    unpacked: UnpackedBase
    interpreter: Interpreter | None


def assemble(made_of: Ingredients, bases: Sequence[PreparedBase], cache: BuildCache, progress: Progress) -> Assembled:
    """Make what is missing of an image and return all of it."""
    images: list[ImageContent] = []
    materials: list[tuple[Descriptor, Materials]] = []
    for base in bases:
        layers = _layers(made_of, base, cache, progress)
        content = image_content(made_of, base.image, base.unpacked.python, layers)
        images.append(content)
        subject = replace(content.descriptor, platform=None)
        materials.append((subject, _materials(made_of, base, layers, content)))
    whole = images[0] if len(images) == 1 else ImageContent.index(tuple(images))
    listed = [layer for image in images for layer in built_layers(image.manifest, _architecture(image))]
    return Assembled(whole, tuple(materials), tuple(listed))


def findings_of(bases: Sequence[PreparedBase]) -> tuple[Finding, ...]:
    """Return what there is to say of how the image was made."""
    told = []
    for base in bases:
        of_base, ours = base.unpacked.python, base.interpreter
        if ours is None:
            message = (
                f"the image for {base.unpacked.architecture} has no byte code: no Python {of_base.version} runs here"
            )
            told.append(finding("no-bytecode", message))
        elif not ours.is_of_base and ours.patch != of_base.patch:
            message = f"the byte code was made by this machine's Python {ours.patch}"
            told.append(
                finding("other-interpreter", message, seen=ours.patch, expected=of_base.patch or of_base.version)
            )
    if not zlib_is_standard():
        told.append(finding("other-zlib", "this Python's zlib gives other bytes than zlib itself"))
    return tuple(dict.fromkeys(told))


def _layers(made_of: Ingredients, base: PreparedBase, cache: BuildCache, progress: Progress) -> list[MadeLayer]:
    request, architecture = made_of.request, base.unpacked.architecture
    maker = LayerMaker(base.unpacked, base.interpreter, cache, request.epoch)
    lock = request.lock or runtime_lock()
    sources = WheelSources(request.wheel_dir, request.index_url, request.ca_file)
    progress(f"installing packages and compiling byte code for {architecture}")
    # Side by side: what they wait for is other programs (uv, the interpreter) and zlib, which holds no lock.
    with ThreadPoolExecutor(thread_name_prefix="mlfn-layer") as pool:
        dependencies = pool.submit(maker.dependencies, lock, sources)
        compiled = pool.submit(maker.bytecode, base.image.digest)
        runtime = pool.submit(maker.runtime)
        model = pool.submit(model_layer, made_of.package, cache, request.epoch)
    of_base = compiled.result()
    return [*([of_base] if of_base else []), dependencies.result(), runtime.result(), model.result()]


def _materials(
    made_of: Ingredients, base: PreparedBase, layers: Sequence[MadeLayer], content: ImageContent
) -> Materials:
    packages: list[Mapping[str, str]] = [each for layer in layers for each in layer.facts.get("packages", ())]
    return Materials(
        name=made_of.request.name,
        image_digest=content.digest,
        architecture=base.unpacked.architecture,
        base_digest=base.image.digest,
        python=base.unpacked.python,
        packages=tuple(packages),
        model=made_of.package,
        epoch=made_of.request.epoch,
    )


def _architecture(image: ImageContent) -> str:
    return image.platform.architecture if image.platform else ""
