"""Public data, named by pinned URL, sha256 and licence: from a mirror folder, or downloaded once.

A new study adds its lines to `SOURCES`; nothing else changes. None of this data is committed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from grounded import fingerprint, paths
from grounded.errors import GroundedError


class SourceError(GroundedError):
    """Public data that is not the file it was when this was written, or an unknown name."""


class SourceAbsent(SourceError):
    """Public data that could not be had: in no mirror, not in the cache, and not reachable."""


@dataclass(frozen=True)
class Source:
    """A public file. `mirror` is its path in a mirror folder, and in the cache of downloads."""

    name: str
    url: str
    sha256: str
    licence: str
    mirror: str


def _github(repository: str, commit: str, path: str) -> str:
    return f"https://github.com/{repository}/raw/{commit}/{path}"


_HARMBENCH = ("centerforaisafety/HarmBench", "8e1604d1171fe8a48d8febecd22f600e462bdcdd")
_XSTEST = ("paul-rottger/exaggerated-safety", "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d")
_XSTEST_LICENCE = "annotations by the authors; completions under the model makers' terms"


_WILDGUARD = ("allenai/wildguard", "495b9dc837be594c6c5665b0f7f56169baf0d5be")
_ADVBENCH = ("llm-attacks/llm-attacks", "098262edf85f807224e70ecd87b9d83716bf6b73")
_STRONGREJECT = "alexandrasouly/strongreject"


def _gsm8k(split: str, sha256: str) -> Source:
    commit, file = "3101c7d5072418e28b9008a6636bde82a006892c", f"{split}.jsonl"
    url = _github("openai/grade-school-math", commit, f"grade_school_math/data/{file}")
    return Source(f"task_gsm8k_{split}", url, sha256, "MIT", f"gsm8k/{file}")


def _arc_easy(split: str, sha256: str) -> Source:
    commit, file = "816657208af4db747803f87ba40a4c71383fed7a", f"{split}.json"
    url = _github("AGI-Edgerunners/LLM-Adapters", commit, f"dataset/ARC-Easy/{file}")
    return Source(f"task_arc_easy_{split}", url, sha256, "CC-BY-SA-4.0", f"arc_easy/{file}")


def _harmbench(split: str, sha256: str) -> Source:
    file = f"harmbench_behaviors_text_{split}.csv"
    url = _github(*_HARMBENCH, f"data/behavior_datasets/{file}")
    return Source(f"prompts_harmbench_{split}", url, sha256, "MIT", f"harmbench/{file}")


def _xstest(model: str, sha256: str) -> Source:
    file = f"xstest_v2_completions_{model}.csv"
    url = _github(*_XSTEST, f"model_completions/{file}")
    return Source(f"xstest_{model}", url, sha256, _XSTEST_LICENCE, f"xstest_human_labels/{file}")


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="harmbench_judge_val",
            url=_github(*_HARMBENCH, "data/classifier_val_sets/text_behaviors_val_set.json"),
            sha256="e740727b6874e492063e097122a9916833d57f9bd2ce3e86713ec188741a41c8",
            licence="MIT",
            mirror="harmbench_judge_val/text_behaviors_val_set.json",
        ),
        _harmbench("all", "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc"),
        _harmbench("test", "75d257b3e7428c52eb7b0154318f455af3e01b09a3794b5e2f3d36054f3c0e29"),
        _harmbench("val", "7bfaaa5e2b9b95002c89e2d33c019f58e9e8496e2fc65d368f1eeb8179e69534"),
        Source(
            name="prompts_advbench",
            url=_github(*_ADVBENCH, "data/advbench/harmful_behaviors.csv"),
            sha256="6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
            licence="MIT",
            mirror="advbench/harmful_behaviors.csv",
        ),
        Source(
            name="prompts_strongreject",
            url=_github(
                _STRONGREJECT,
                "3432b2d696b428f242bd507df96d80f686571d5e",
                "strongreject_dataset/strongreject_dataset.csv",
            ),
            sha256="4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381",
            licence="MIT; prompts from mixed sources",
            mirror="strongreject/strongreject_dataset.csv",
        ),
        Source(
            name="prompts_strongreject_small",
            url=_github(
                _STRONGREJECT,
                "f7cad6c17e624e21d8df2278e918ae1dddb4cb56",
                "strongreject_dataset/strongreject_small_dataset.csv",
            ),
            sha256="3051340e3e89a3598d764dde497d5fcda80e258ac05cc35e6bd87228ac3d467c",
            licence="MIT; prompts from mixed sources",
            mirror="strongreject/strongreject_small_dataset.csv",
        ),
        Source(
            name="prompts_xstest",
            url=_github(*_XSTEST, "xstest_prompts.csv"),
            sha256="11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
            licence="CC-BY-4.0",
            mirror="xstest/xstest_prompts.csv",
        ),
        Source(
            name="template_harmbench",
            url=_github(*_HARMBENCH, "eval_utils.py"),
            sha256="46f1db751866848834d45d5128a18d4cc0a820828e89796ab51bc605d10c7058",
            licence="MIT",
            mirror="judges/harmbench/eval_utils.py",
        ),
        Source(
            name="template_wildguard",
            url=_github(*_WILDGUARD, "wildguard/utils.py"),
            sha256="7b7d42eb60d68608a3b8ce1ba4468dcbb94938b812e365947a1f0a0b1252a3e0",
            licence="Apache-2.0",
            mirror="judges/wildguard/utils.py",
        ),
        _arc_easy("train", "6a06cece3dec32f4fb1c1b0fc29dab14be7cf3053b417290dbc6cd845359f5ff"),
        _arc_easy("test", "3f32a84716ca6d57d38728bf80cc8117aecd17445c2cf29a68b571b810eb82dc"),
        Source(
            name="task_boolq_validation",
            url=_github(
                "heddayam/kb-model-editing",
                "fcdc13f748f0a33190a5d73b703af470724c7a31",
                "data/boolq/validation.jsonl",
            ),
            sha256="ff66d4040aaf079852d8b3bd7b0b7da693206f48cc5b4e03c7f84c8cef9f5c7d",
            licence="CC-BY-SA-3.0",
            mirror="boolq/validation.jsonl",
        ),
        Source(
            name="task_instructions",
            url=_github(
                "rasbt/LLMs-from-scratch",
                "28c65cdfbc3338e2e040016eea4b7fdf556e4d57",
                "ch07/01_main-chapter-code/instruction-data.json",
            ),
            sha256="7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
            licence="Apache-2.0",
            mirror="instructions/instruction-data.json",
        ),
        _gsm8k("train", "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"),
        _gsm8k("test", "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"),
        _xstest("llama2new", "6365cc55ce0a593c7ab8785853d02784be027d97199d4077912b4313cd010099"),
        _xstest("mistralguard", "0ac03817b65e019a8f5b4b3eed805086f9f7fafe538ac9ebd156f80210af6903"),
        _xstest(
            "mistralinstruct", "6a146b65a5b96ec8249729bc2db459697175125998d7cbbcc88f7688ecf31dad"
        ),
    )
}


def fetch(name: str) -> Path:
    """The file of that name, its sha256 verified, on this machine.

    Taken from the folder that GROUNDED_MIRROR names where it holds the file, else from
    .cache/sources, else downloaded into the latter with a progress bar.
    SourceError for an unknown name, a mirror that is no folder, or a file whose content changed;
    SourceAbsent when the file is nowhere to be had.
    """
    if name not in SOURCES:
        raise SourceError(f"sources: found {name!r}, wanted one of {', '.join(sorted(SOURCES))}")
    source = SOURCES[name]
    mirror = os.environ.get("GROUNDED_MIRROR")
    if mirror:
        if not Path(mirror).is_dir():
            raise SourceError(f"GROUNDED_MIRROR: found {mirror!r}, wanted an existing folder")
        file = Path(mirror) / source.mirror
        if file.exists():
            _check(source, file, str(file))
            return file
    file = paths.home() / ".cache" / "sources" / source.mirror
    if not (file.exists() and fingerprint.file(file) == source.sha256):
        _download(source, file)
    return file


def _check(source: Source, file: Path, shown: str) -> None:
    found = fingerprint.file(file)
    if found != source.sha256:
        raise SourceError(
            f"{source.name}: {shown}: sha256: found {found}, wanted {source.sha256}; "
            "the file is not the one that this study was written for"
        )


def _download(source: Source, file: Path) -> None:
    import pooch  # with requests, half a second: only a download pays it
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # its notes hold the machine's paths

    def download(url: str, output: str, pup: pooch.Pooch) -> None:
        # pooch puts the true total in, but asks before whether there is one
        label = f"fetching {source.name}"
        with tqdm(desc=label, total=1, unit="B", unit_scale=True, leave=False) as bar:
            pooch.HTTPDownloader(progressbar=bar)(url, output, pup)
        _check(source, Path(output), url)  # before pooch, whose message is not one line

    try:
        pooch.retrieve(
            source.url, source.sha256, fname=file.name, path=file.parent, downloader=download
        )
    except requests.RequestException as error:
        raise SourceAbsent(
            f"{source.name}: found neither a copy nor a way to {source.url} "
            f"({type(error).__name__}); wanted that file (sha256 {source.sha256}) as "
            f"{paths.shown(file)}, or as {source.mirror} in the folder that GROUNDED_MIRROR names"
        ) from error
    except OSError as error:  # requests' own errors, caught above, are OSErrors too
        raise SourceError(
            f"{source.name}: {paths.shown(file)}: found no way to write it ({error.strerror}), "
            "wanted a folder with room for a few megabytes"
        ) from error
