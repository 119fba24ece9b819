"""Judges whose model the study names itself: `own`, and StrongREJECT's rubric; here or served."""

from functools import partial
from pathlib import Path
from typing import Any

from grounded import fingerprint, paths
from grounded.judges import Judge
from grounded.public import devices, lock
from grounded.public.files import model_files
from grounded.public.judges import JUDGES, Known, templates
from grounded.public.judges import served as asking
from grounded.public.judges.prompted import Prompted
from grounded.public.needs import authors_file, is_address
from grounded.public.served import Server
from grounded.public.tasks import fetching
from grounded.stages.public import judge_files
from grounded.study import PublicJudge, Study
from grounded.study.asking import OWN_JUDGE, RUBRIC


def known(setting: PublicJudge) -> Known:
    """What a judge of one's own is to `judges.load`."""
    make = partial(Prompted, true=setting.true, false=setting.false, chat=setting.chat)
    files = model_files(setting.repository or str(setting.path), None, "its own")
    return Known(files, make, templates.whole)


def served(study: Study, name: str, setting: PublicJudge) -> Judge:
    """A judge behind a server; GroundedError where its text cannot be read, or lacks its slots."""
    asked = setting.server
    assert asked is not None
    server = Server(asked.url, asked.concurrency, asked.timeout, asked.retries)
    file, model = template(study, name, setting), str(setting.model)
    assert file is not None
    how: dict[str, Any] = {"minimum_mass": study.minimum_mass}
    if setting.max_new_tokens is not None:
        how["max_new_tokens"] = setting.max_new_tokens
    if setting.judge == RUBRIC:
        return asking.Rubric(name, server, model, _rubric(file), **how)
    text = templates.whole(file)
    return asking.Served(name, server, model, text, true=setting.true, false=setting.false, **how)


def template(study: Study, name: str, setting: PublicJudge) -> Path | None:
    """The file of a judge's prompt text that the study names; None where it names none."""
    needless = setting.judge in JUDGES and JUDGES[setting.judge].text is None
    if setting.template is None or needless:
        return None
    if not is_address(setting.template):
        return paths.data(study.name) / setting.template
    kept = (lock.entry(study, "judges", name) or {}).get("files", {})
    return fetching.fetch(authors_file(setting.template), kept.get("template")).path


def facts(study: Study, name: str, setting: PublicJudge) -> dict[str, Any]:
    """What such a judge is, for the record."""
    file = template(study, name, setting)
    assert file is not None
    about = {
        "revision": judge_files(study, name),
        "template": fingerprint.text("\n".join(texts(setting, file))),
        "judge": setting.judge,
        "clip": setting.clip,
    }
    if setting.server is None:
        about["dtype"] = str(devices.best()[1]).removeprefix("torch.")
    return about


def texts(setting: PublicJudge, file: Path) -> list[str]:
    """The prompt texts in a judge's file; GroundedError where they cannot be read."""
    if setting.judge == OWN_JUDGE:
        return [templates.whole(file)]
    return list(_rubric(file).values())


def _rubric(file: Path) -> dict[str, str]:
    return {key: templates.json_entry(file, key) for key in (asking.RUBRIC, asking.RUBRIC_SYSTEM)}
