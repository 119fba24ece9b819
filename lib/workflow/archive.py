"""One file to keep or to publish: a study with its tables, figures, pages, lock and provenance.

An RO-Crate (https://w3id.org/ro/crate) in a zip: `ro-crate-metadata.json` names every file with
its sha256, and says by which commit of this repository what was made from what. The same study at
the same commit gives the same bytes.
"""

import json
import mimetypes
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from grounded import fingerprint, paths, tables
from grounded.errors import GroundedError
from grounded.records import replacing
from grounded.records.redacted import redact
from grounded.study import Study
from workflow.notebooks import read
from workflow.unpack import METADATA

BESIDE = (
    "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "REUSE.toml", "LICENSES",
    "requirements.in", "requirements.lock", "environment.yml", "data/README.md", "notebooks",
)  # fmt: skip
TYPES = {".parquet": "application/vnd.apache.parquet", ".ipynb": "application/x-ipynb+json",
         ".yaml": "application/yaml", ".safetensors": "application/octet-stream"}  # fmt: skip
LICENCES = {"figures": "CC-BY-4.0", "data": "CC-BY-4.0", "notebooks": "Apache-2.0"}  # as REUSE.toml
DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the zip: the earliest that the format knows


def redact_tables(asked: Study) -> list[Path]:
    """Write the study's tables without their texts, to data/<study>/redacted/; which there are.

    Units that are not measured yet are left out; where only the redacted form is here, it stays.
    """
    found = []
    for table in tables.names(asked):
        for unit in asked.units(arm=None):
            source = paths.table(asked.name, table, unit)
            target = paths.redacted(asked.name, table, unit)
            if source.exists() and source != target:
                redact(source, target, table)
            if target.exists():
                found.append(target)
    return found


def export(asked: Study) -> Path:
    """Write build/export/<study>.zip; GroundedError for a study whose tables are not all there."""
    target = paths.repository() / "build" / "export" / f"{asked.name}.zip"
    with tempfile.TemporaryDirectory() as scratch:
        content = dict(_content(asked, Path(scratch)))
        crate = _crate(asked, content)
        with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, file in sorted(content.items()):
                _put(archive, name, file.read_bytes())
            _put(archive, METADATA, crate)
    return target


def _content(asked: Study, scratch: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of all that belongs in it; tables of real models redacted."""
    own = asked.world == "microworld"
    if not own:
        redact_tables(asked)
    data = paths.data(asked.name)
    for table in tables.names(asked):
        for unit in asked.units(arm=None):
            file = paths.table(asked.name, table, unit)
            if not file.is_file():
                raise GroundedError(f"{paths.shown(file)}: found no such file, wanted the table")
            source = file if own else paths.redacted(asked.name, table, unit)
            yield f"data/{asked.name}/{table}/{file.name}", source
    folders = [data / "models", data / "judges", paths.figures(asked.name)]
    executed = f"figures/{asked.name}/notebooks/"  # made again by make figures
    beside = [asked.anchoring.goals] if asked.anchoring and asked.anchoring.goals else []
    aligned = (getattr(model, "alignment", None) for model in asked.models.values())
    beside += [one.lookalikes for one in aligned if one]
    named = (data / name for name in beside)
    for file in (paths.study_file(asked.name), paths.lock(asked.name), *named, *folders):
        found = _files(file, paths.home())
        yield from (one for one in found if not one[0].startswith(executed))
    for name in BESIDE:
        yield from _files(paths.repository() / name, paths.repository())


def _files(place: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """A file, or every file of a folder, by its name below the root."""
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(root).parts):
            yield file.relative_to(root).as_posix(), file


def _crate(asked: Study, content: dict[str, Path]) -> bytes:
    """The metadata of the archive, as bytes."""
    commit, date = _git("rev-parse", "HEAD"), _git("log", "-1", "--format=%cI")
    crate = ROCrate()
    crate.name = f"Study {asked.name}: safety after fine-tuning, grounded in capability"
    crate.description = " ".join(asked.about.split())
    crate.datePublished = date
    crate.license = "https://spdx.org/licenses/CC-BY-4.0"
    crate.creator = crate.add(
        ContextEntity(crate, "#contributors", {"@type": "Organization", "name": "The contributors"})
    )
    source = {
        "@type": "SoftwareSourceCode", "name": "grounded", "version": commit or "not known",
        "programmingLanguage": "Python", "license": "https://spdx.org/licenses/Apache-2.0",
    }  # fmt: skip
    code = crate.add(ContextEntity(crate, "#code", source))
    parts: dict[str, list[object]] = {"data": [], "figures": [], "notebooks": []}
    asks = None
    for name, file in sorted(content.items()):
        about = {
            "sha256": fingerprint.file(file), "contentSize": str(file.stat().st_size),
            "encodingFormat": _type(file),
        }  # fmt: skip
        top = name.partition("/")[0]
        if top in LICENCES:
            about["license"] = f"https://spdx.org/licenses/{LICENCES[top]}"
        entity = crate.add_file(str(file), name, properties=about)
        if name == f"data/{asked.name}/study.yaml":
            asks = entity
        elif top in parts:
            parts[top].append(entity)
    when = {"endTime": date} if date else {}
    crate.add_action(code, "#measured", [asks], parts["data"],
                     {"name": "The study's runs, replies and verdicts", **when})  # fmt: skip
    crate.add_action(code, "#drawn", parts["data"], [*parts["figures"], *parts["notebooks"]],
                     {"name": "Statistics, figures and executed notebooks", **when})  # fmt: skip
    text = json.dumps(crate.metadata.generate(), indent=1, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    about = zipfile.ZipInfo(name, DATE)
    about.external_attr = 0o644 << 16
    archive.writestr(about, content, zipfile.ZIP_DEFLATED)


def _type(file: Path) -> str:
    if file.suffix == ".ipynb":
        read(file)  # a page that cannot be read is not worth keeping
    return TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "text/plain"


def _git(*command: str) -> str:
    """What git says of this repository; nothing where it is no clone."""
    told = subprocess.run(["git", "-C", str(paths.repository()), *command],
                          capture_output=True, text=True, check=False)  # fmt: skip
    return told.stdout.strip() if told.returncode == 0 else ""
