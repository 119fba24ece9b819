"""Sampled replies: several to a prompt, by their seeds, through every stage to the tables."""

import pytest
import test_public_world
from test_own_studies import base, copied, home, through  # noqa: F401
from test_public_world import changed

from grounded import paths, records, tables
from grounded.public import budget, judging
from grounded.public.replying import Asker
from grounded.records.schemas import STRIDE
from grounded.study import StudyError, load

study = test_public_world.study
SAMPLED = {"decoding": "sampled", "temperature": 1.0, "seeds": [3, 8]}


def test_each_seed_gives_a_reply_to_each_prompt_and_items_stay_greedy(study):
    (run,) = study.runs("my-base", "base")
    greedy = Asker(study, "my-base").ask(run, 0, None)
    asked = changed(**SAMPLED)
    found = Asker(asked, "my-base").ask(run, 0, None)
    again = Asker(asked, "my-base").ask(run, 0, None)
    assert found["replies"].equals(again["replies"])
    assert found["capability"].equals(greedy["capability"])
    ids = sorted(greedy["replies"]["prompt"])
    wanted = [prompt + STRIDE * sample for sample in (0, 1) for prompt in ids]
    assert sorted(found["replies"]["prompt"]) == wanted
    texts = found["replies"].set_index("prompt")["text"]
    assert [texts[p] for p in ids] != [texts[p + STRIDE] for p in ids]
    # a seed's replies do not hang on the other seeds
    other = Asker(changed(**SAMPLED | {"seeds": [8]}), "my-base").ask(run, 0, None)["replies"]
    assert list(other["text"]) == [texts[p + STRIDE] for p in ids]
    assert set(judging.prompts(asked)) == {("my_prompts", prompt) for prompt in wanted}
    costs = [budget.budget(one, {"my-base": 0.001}).replies for one in (study, asked)]
    assert costs[1] == 2 * costs[0]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"decoding": "sampled"}, "generation.temperature: found nothing, wanted a value"),
        ({"decoding": "sampled", "temperature": 1.0}, "generation.seeds: found nothing, wanted"),
        ({"temperature": 1.0}, "generation.temperature: found 1.0, wanted nothing, for decoding"),
        ({**SAMPLED, "seeds": [3, 3]}, "generation.seeds: found 3, wanted each once"),
        ({**SAMPLED, "temperature": float("nan")}, "generation.temperature: found nan, wanted"),
        ({"max_new_tokens": 0}, "generation.max_new_tokens: found 0, wanted more than 0"),
        ({"batch_size": 0}, "generation.batch_size: found 0, wanted more than 0"),
        ({"server": {"url": "http://localhost:1/v1", "concurrency": 0}},
         "generation.server.concurrency: found 0, wanted more than 0"),
    ],
)  # fmt: skip
def test_a_study_says_how_it_samples(study, changes, line):
    with pytest.raises(StudyError, match=line):
        changed(**changes)


def test_a_greedy_study_records_what_it_did_before_there_were_samples(study):
    assert not {"temperature", "seeds"} & set(study.generation.model_dump())
    told = changed(**SAMPLED).generation.model_dump(mode="json")
    assert (told["temperature"], told["seeds"]) == (1.0, [3, 8])


def test_sampled_replies_come_through_every_stage_and_apart_again(home, base):  # noqa: F811
    folder = copied(home, "my_data", base)
    file = folder / "study.yaml"
    text = file.read_text().replace(
        "decoding: greedy", "decoding: sampled, temperature: 0.8, seeds: [0, 1, 2]"
    )
    file.write_text(text.replace("seeds: [0, 1]\n", "seeds: [0]\n"))
    assert through("my_data")["judge"] > 0
    unit = load("my_data").units()[0]
    assert len(records.read(paths.table("my_data", "replies", unit), "replies")) == 9
    said = tables.verdicts("my_data", judges=["keywords_advbench"])
    assert set(said["sample"]) == {0, 1, 2} and said["prompt"].max() < 4
    each = said.groupby(["run", "step", "benchmark", "prompt"], observed=True)["label"]
    assert (each.count() == 3).all()
    moved = tables.since_base(said, "label")
    assert len(moved) == (~said["base"]).sum()
    assert moved["question"].nunique() == 3  # of three samples each
    assert not any(through("my_data").values())
