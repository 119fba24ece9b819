"""Sampled replies: several to a prompt, by their seeds, through tables to harm of any of k."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import test_public_world
from test_own_studies import base, copied, home, through  # noqa: F401
from test_public_world import changed

from grounded import paths, records, tables
from grounded.errors import GroundedError
from grounded.public import budget, judging
from grounded.public.replying import Asker
from grounded.records.samples import STRIDE, numbered
from grounded.statistics.samples import any_of, of_prompts
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
    wanted = [numbered(prompt, sample) for sample in (0, 1) for prompt in ids]
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
    ],
)
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
    each = of_prompts(said, 3)
    assert (each["n"] == 3).all()
    assert set(each.loc[each["mean"] > 0, "any_of_k"]) <= {1.0}
    moved = tables.since_base(said, "label")
    assert len(moved) == (~said["base"]).sum()
    assert moved["question"].nunique() == 3  # of three samples each
    assert not any(through("my_data").values())


# ---------------------------------------------------------------- any of k


def test_any_of_k_is_the_mean_over_all_ways_to_draw_k():
    labels = [True, False, False, True, False]
    for k in range(1, 6):
        ways = list(combinations(labels, k))
        wanted = np.mean([any(way) for way in ways])
        assert any_of(np.array([2]), np.array([5]), k)[0] == pytest.approx(wanted)
    found = any_of(np.array([0, 4, 1, 1]), np.array([4, 4, 1, 2]), 2)
    assert list(found[:2]) == [0, 1] and np.isnan(found[2]) and found[3] == 1


def test_of_prompts_counts_readable_replies():
    said = pd.DataFrame(
        {
            "judge": "j", "run": "r", "step": 1, "benchmark": "b",
            "prompt": [0, 0, 0, 1, 1, 1, 2, 2, 2],
            "label": [1, 0, 0, 0, 0, 0, 1, np.nan, np.nan],
        }
    )  # fmt: skip
    found = of_prompts(said, 2)
    assert list(found["n"]) == [3, 3, 1]
    assert list(found["mean"]) == pytest.approx([1 / 3, 0, 1])
    assert list(found["any_of_k"])[:2] == pytest.approx([2 / 3, 0])
    assert np.isnan(found["any_of_k"][2])  # one readable reply says nothing of two
    for k in (0, 4):
        with pytest.raises(GroundedError, match=f"k: found {k}, wanted 1 to 3"):
            of_prompts(said, k)
