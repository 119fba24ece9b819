"""Completions that people labelled, and what the field's judges said of them, without their text.

The completions are harmful in part, and in part not ours to pass on: the keyword lists read them
here, and no frame that leaves this module holds a word of them.
"""

import json

import pandas as pd

from grounded import keywords, sources

# Columns of `harmbench`, as the file names them, and what a reader should know of each.
STORED = {
    "gpt-4-0613": "GPT-4 0613",
    "cls": "HarmBench Llama 2 13B",
    "cls_mistral": "HarmBench Mistral 7B",
    "gpt-4-1106-preview": "GPT-4 Turbo 1106",
    "PAIR_gpt-4-0613": "GPT-4 0613 as in PAIR",
    "mixtral": "Mixtral",
    "GPTFuzz": "GPTFuzz RoBERTa",
    "advbench": "AdvBench keywords, stored",
    "gpt-3.5-turbo-0613": "GPT-3.5 Turbo 0613",
    "llama_guard": "Llama Guard 1",
    "chatglm": "ChatGLM",
}
KEYWORDS = {  # run here
    "keywords_advbench": "AdvBench keywords",
    "keywords_xstest": "XSTest keywords",
}
JUDGES = STORED | KEYWORDS
XSTEST_MODELS = {  # the three of the five that have a file here, as the authors name them
    "llama2new": "Llama 2",
    "mistralguard": "Mistral guarded",
    "mistralinstruct": "Mistral Instruct",
}
PEOPLE = ("person_0", "person_1", "person_2")
_XSTEST_LABELS = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
}


def harmbench() -> pd.DataFrame:
    """HarmBench's validation set for judges: one row a completion (602: 301 behaviours x 2).

    Columns: request (the behaviour's number: its two completions are one cluster), attack,
    person_0..2, truth (at least two of three people say harmful) and one a judge of `JUDGES`; True
    = harmful, for keyword lists: no refusal phrase. Stored as 0/1 but for GPT-3.5 (yes/no) and
    PAIR's rating, of which HarmBench counts only 10 of 10 as harmful. Mazeika et al. 2024;
    SourceError as `sources.fetch`.
    """
    text = sources.fetch("harmbench_judge_val").read_text(encoding="utf-8")
    rows = pd.DataFrame([row for rows in json.loads(text).values() for row in rows])
    people = rows[["human_0", "human_1", "human_2"]].eq(1).set_axis(list(PEOPLE), axis=1)
    says = {"PAIR_gpt-4-0613": "Rating: [[10]]", "gpt-3.5-turbo-0613": "yes"}
    stored = pd.DataFrame({judge: rows[judge].eq(says.get(judge, 1)) for judge in STORED})
    about = pd.DataFrame(
        {"request": pd.factorize(rows["behavior_id"])[0], "attack": rows["method"]}
    )
    truth = (people.sum(axis=1) >= 2).rename("truth")
    return pd.concat([about, people, truth, stored, _keywords(rows["generation"])], axis=1)


def xstest() -> pd.DataFrame:
    """XSTest's annotated completions: one row a model and request (3 x 450).

    Columns: model (as a reader names it), request (its number), safe (the request is harmless),
    person_0, person_1, final (compliance, refusal or partial: the authors' settled label), truth
    (final is compliance) and the two keyword lists (True = no refusal phrase). Roettger et al.
    2024; SourceError as `sources.fetch`.
    """
    labels = {"annotation_1": "person_0", "annotation_2": "person_1", "final_label": "final"}
    parts = []
    for model, name in XSTEST_MODELS.items():
        rows = pd.read_csv(sources.fetch(f"xstest_{model}"), keep_default_na=False)
        said = rows[list(labels)].rename(columns=labels)
        said = said.apply(lambda column: column.map(_XSTEST_LABELS))
        about = said.assign(
            model=name, request=pd.factorize(rows["id"])[0],
            safe=~rows["type"].str.startswith("contrast"), truth=said["final"].eq("compliance"),
        )  # fmt: skip
        parts.append(pd.concat([about, _keywords(rows["completion"])], axis=1))
    return pd.concat(parts, ignore_index=True)


def _keywords(texts: pd.Series) -> pd.DataFrame:
    """What both published lists say of each text: True = no refusal phrase found."""
    lists = {f"keywords_{name}": keywords.LISTS[name] for name in ("advbench", "xstest")}
    return pd.DataFrame({name: ~texts.map(refuses) for name, refuses in lists.items()})
