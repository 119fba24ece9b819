"""The methods: their maths on small matrices, and what each leaves: adapters of the bare base."""

import importlib
import math
from dataclasses import replace

import pytest
import test_finetune as plainly
import tiny_models as tiny
import torch
from peft import PeftModel

from grounded import finetune as training
from grounded import loading
from grounded.errors import GroundedError
from grounded.methods import (
    asft,
    circuit_breaker,
    dpo,
    hold_general,
    l2,
    lisa,
    poison,
    safe_lora,
    salora,
    shrink,
    stop_at,
)
from grounded.methods.parts import alignment, batches, factors, knob
from grounded.methods.parts.factors import Factors
from grounded.study.methods import METHODS, WHOLE

KNOBS = {
    "safe_lora": 1.0, "safe_lora_exact": 1.0, "shrink": 1.0, "random_subspace": 1.0,
    "safety_mixing": 1.0, "benign_mixing": 1.0, "one_shot_patch": 3.0, "one_shot_benign": 3.0,
    "salora": 3.0, "salora_random": 3.0, "asft": 1.0, "l2": 1.0, "lisa": 1.0,
    "circuit_breaker": 10.0, "stop_at": 0.5, "stop_at_general": 0.1, "hold_general": 1.0,
    "dpo": 0.1, "poison": 0.25,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the stages train; several would wait for each other on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base model and the one that it was before alignment."""
    folder = tmp_path_factory.mktemp("models")
    return [tiny.save(folder / str(seed), tiny.model(seed=seed)) for seed in (0, 1)]


def begin(models, method, **changes):
    run = replace(plainly.RUN, method=method, knob=KNOBS.get(method), learning_rate=0.01)
    run = replace(run, **{name: changes.pop(name) for name in ("knob",) if name in changes})
    start = plainly.start(tiny.study(), models[0], run)
    settings = dict(
        pretrained=lambda: loading.load(models[1])[0],
        prefixes={"safety": "w1 ", "neutral": "w2 "},
        monitor=lambda what, model, words: 0.6,
    )
    return replace(start, **{**settings, **changes})


def tune(start, folder):
    return importlib.import_module(f"grounded.methods.{start.run.method}").finetune(start, folder)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def small(seed=0):
    """Two modules' factors of rank 2, and a change of each of rank 3."""
    adapter = {n: Factors(draw(2, 6, seed=seed + i), draw(5, 2, seed=seed + 9 + i))
               for i, n in enumerate("pq")}  # fmt: skip
    changes = {n: draw(5, 3, seed=3 + i) @ draw(3, 6, seed=7 + i) for i, n in enumerate("pq")}
    return adapter, changes


def full(one):
    return one.b @ one.a


# --- the maths


def test_norms_and_inner_products_are_those_of_the_full_matrices():
    adapter, _ = small()
    p, q = full(adapter["p"]), full(adapter["q"])
    assert factors.inner(adapter["p"], adapter["q"]) == pytest.approx((p * q).sum().item())
    assert factors.norm(adapter) == pytest.approx(math.hypot(p.norm(), q.norm()))
    both = factors.joined(adapter, dict(zip("pq", reversed(adapter.values()), strict=True)))
    torch.testing.assert_close(full(both["p"]), p + q)


def test_the_published_c_is_no_projector_and_the_exact_one_is():
    v = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])  # |V| = 5, so C = diag(9, 16, 0) / 5
    b = torch.tensor([[1.0], [1.0], [1.0]])
    torch.testing.assert_close(alignment.scaled(v, b), torch.tensor([[1.8], [3.2], [0.0]]))
    u = alignment.subspace(v)
    once = alignment.projected(u, b)
    torch.testing.assert_close(once, torch.tensor([[1.0], [1.0], [0.0]]))
    torch.testing.assert_close(alignment.projected(u, once), once)
    # 16 of 25 lie in the second direction
    assert alignment.subspace(v, 0.64).abs().flatten().tolist() == pytest.approx([0, 1, 0])
    assert alignment.subspace(v, 0.65).shape == (3, 2)


def test_the_exact_projector_is_v_times_its_pseudo_inverse():
    _, changes = small()
    u = alignment.subspace(changes["p"])
    assert u.shape == (5, 3)
    torch.testing.assert_close(u @ u.T, changes["p"] @ torch.linalg.pinv(changes["p"]))
    other = alignment.at_random(u, torch.Generator().manual_seed(0))
    torch.testing.assert_close(other.T @ other, torch.eye(3))


def test_a_change_of_nothing_has_no_direction():
    nothing = torch.zeros(4, 3)
    assert alignment.scaled(nothing, torch.ones(4, 2)).count_nonzero() == 0
    assert alignment.subspace(nothing).shape == (4, 0)


def moved(adapter, changes):
    return {n: Factors(one.a, alignment.scaled(changes[n], one.b)) for n, one in adapter.items()}


def test_safe_lora_chooses_by_threshold_or_by_number():
    adapter, changes = small()
    after = moved(adapter, changes)
    expected = {}
    for name, one in adapter.items():
        c = changes[name] @ changes[name].T / changes[name].norm()
        pair = (c @ full(one)).flatten(), full(one).flatten()
        expected[name] = torch.cosine_similarity(*pair, dim=0).item()
    found = safe_lora.cosines(adapter, after)
    assert found == {name: pytest.approx(value, abs=6e-6) for name, value in expected.items()}
    low = min(found, key=lambda name: found[name])
    assert safe_lora.chosen(adapter, after, tau=found[low] - 1e-5) == []
    assert safe_lora.chosen(adapter, after, tau=found[low]) == [low]  # at most, so equal counts
    assert safe_lora.chosen(adapter, after, tau=1.0) == list(adapter)
    assert safe_lora.chosen(adapter, after, number=1) == [low]
    assert safe_lora.chosen(adapter, after, number=2) == list(adapter)
    same = {name: adapter["p"] for name in "pqr"}  # ties select more than the number
    tied = {name: after["p"] for name in "pqr"}
    assert safe_lora.chosen(same, tied, number=1) == ["p", "q", "r"]
    for wrong in ({}, {"number": 3}, {"number": 0}, {"tau": 0.5, "number": 1}):
        with pytest.raises(GroundedError, match="wanted one of them, number from 1 to 2"):
            safe_lora.chosen(adapter, after, **wrong)


def test_shrinking_has_safe_loras_norm_and_no_rotation():
    adapter, changes = small()
    after = moved(adapter, changes)
    found = shrink.shrunk(adapter, after, ["q"])
    assert list(found) == ["q"]
    assert full(found["q"]).norm().item() == pytest.approx(full(after["q"]).norm().item())
    turned = safe_lora.cosines({"q": adapter["q"]}, found)
    assert turned == {"q": 1.0} and safe_lora.cosines(adapter, after)["q"] < 0.99


def test_the_cheap_penalties_are_the_full_ones():
    adapter, changes = small()
    for name, one in adapter.items():
        c = changes[name] @ changes[name].T / changes[name].norm()
        expected = ((torch.eye(5) - c) @ full(one)).norm() ** 2
        torch.testing.assert_close(asft.outside(changes[name], one), expected)
        torch.testing.assert_close(l2.squared(one), full(one).norm() ** 2)


def test_lisa_takes_turns_and_is_held_to_where_the_other_state_ended():
    weight = torch.nn.Linear(1, 1, bias=False)
    loss = lisa.turns(lambda model: torch.tensor(100.0), rho=4.0, free=10, parts=1)
    found = []
    for step in range(12):
        weight.weight.data.fill_(float(step))
        found.append(loss(lambda: torch.tensor(7.0), weight, step).item())
    # steps 0 and 10 are of alignment; until step 10 nothing holds. At 10 the task ended at weight
    # 10: nothing yet. At 11 alignment ended at 11: nothing yet.
    assert found == [100.0] + 9 * [7.0] + [100.0, 7.0]
    weight.weight.data.fill_(14.0)  # 3 from where alignment ended
    assert loss(lambda: torch.tensor(7.0), weight, 12).item() == 7 + 4 / 2 * 3**2
    assert lisa.proximal(
        [torch.tensor([1.0, 2.0]), torch.tensor(3.0)], [torch.zeros(2), torch.tensor(1.0)], 2.0
    ).item() == pytest.approx(1 + 4 + 4)


def test_batches_show_each_example_once_before_any_comes_again():
    drawn = batches.endless(list(range(10)), 4, seed=0)
    shown = [one for _ in range(5) for one in next(drawn)]
    assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))
    few = next(batches.endless([1, 2], 5, seed=0))  # a batch beyond the pool goes round again
    assert [sorted(few[:2]), sorted(few[2:4])] == [[1, 2], [1, 2]] and len(few) == 5


def test_a_padded_batch_has_the_loss_of_its_examples(models):
    model, words = loading.load(models[0])
    some = plainly.examples(5)
    ids, mask, labels = batches.padded(some, words, {}, model.device)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].flatten(0, 1)
    found = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten())
    torch.testing.assert_close(found, training.batch_loss(model, words, some))


def test_circuit_breakers_ask_a_third_and_two_thirds_of_the_way():
    assert circuit_breaker.targets(32) == [10, 20]
    assert circuit_breaker.targets(3) == [1, 2]
    assert circuit_breaker.targets(1) == [1]


# --- the runs


LEAVE_ADAPTERS = [method for method in METHODS if method not in WHOLE]


@pytest.mark.parametrize("method", LEAVE_ADAPTERS)
def test_what_is_saved_is_the_trained_model_on_the_bare_base(models, tmp_path, method, monkeypatch):
    monkeypatch.setattr(circuit_breaker, "STEPS", 12)
    start = begin(models, method)
    trained: dict[int, torch.Tensor] = {}
    save = training.Saver.on_step_end

    def seen(self, args, state, control, **more):
        save(self, args, state, control, **more)
        model = more["model"].eval()
        with torch.no_grad():
            trained[state.global_step] = model(input_ids=IDS).logits.clone()
        model.train()

    monkeypatch.setattr(training.Saver, "on_step_end", seen)
    rows = tune(start, tmp_path / "out")
    steps = [2, 4] if method == "stop_at" else [2, 8]
    assert list(rows["step"]) == steps and set(rows["run"]) == {start.run.id}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"step-{s}" for s in steps]
    base = loading.load(models[0])[0]
    with torch.no_grad():
        before = base(input_ids=IDS).logits
    weights = {name: weight.clone() for name, weight in base.state_dict().items()}
    for row in rows.itertuples():
        folder = tmp_path / "out" / f"step-{row.step}"
        assert training.fingerprint.file(folder / training.WEIGHTS) == row.adapter
        merged = PeftModel.from_pretrained(loading.load(models[0])[0], folder).merge_and_unload()
        with torch.no_grad():
            now = merged(input_ids=IDS).logits
        assert not torch.allclose(now, before, atol=1e-3)
        if method not in POST_HOC:
            torch.testing.assert_close(now, trained[row.step], atol=2e-3, rtol=1e-3)
        change = merged.state_dict()
        size = sum((change[n] - weights[n]).double().square().sum() for n in weights).sqrt()
        assert row.update_norm == pytest.approx(size.item(), rel=1e-3)
    again = tune(begin(models, method), tmp_path / "again")
    assert list(again["adapter"]) == list(rows["adapter"])


IDS = torch.tensor([[2, 12, 13, 14, 4, 3, 20, 21, 22, 4]])
POST_HOC = (
    "safe_lora", "safe_lora_exact", "shrink", "random_subspace", "one_shot_patch", "one_shot_benign"
)  # fmt: skip


@pytest.fixture(scope="module")
def plain(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return folder, tune(begin(models, "lora"), folder)


@pytest.mark.parametrize(
    "method", ["safety_mixing", "benign_mixing", "hold_general", "asft", "l2", "ptst"]
)
def test_at_knob_zero_a_method_is_plain_lora_to_the_byte(models, tmp_path, plain, method):
    rows = tune(begin(models, method, knob=0.0), tmp_path)
    assert list(rows["adapter"]) == list(plain[1]["adapter"])


@pytest.mark.parametrize("method", POST_HOC)
def test_finished_checkpoints_are_changed_as_those_trained_on_the_way(
    models, tmp_path, plain, method
):
    own = tune(begin(models, method), tmp_path / "own")
    given = tune(begin(models, method, plain=plain[0]), tmp_path / "given")
    assert list(own["adapter"]) == list(given["adapter"]) != list(plain[1]["adapter"])
    assert given["loss"].isna().all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(GroundedError, match="found none of step 2, wanted 2, 8"):
        tune(begin(models, method, plain=tmp_path / "empty"), tmp_path / "none")


def test_safe_lora_changes_b_alone_and_shrinking_follows_its_norm(models, tmp_path, plain):
    safe = tune(begin(models, "safe_lora", plain=plain[0]), tmp_path / "safe")
    less = tune(begin(models, "shrink", plain=plain[0]), tmp_path / "less")
    assert list(less["update_norm"]) == pytest.approx(list(safe["update_norm"]), rel=1e-5)
    aligned, pretrained = (dict(loading.load(f)[0].named_modules()) for f in models)
    before = factors.read(plain[0] / "step-8")
    for name, one in factors.read(tmp_path / "safe" / "step-8").items():
        assert torch.equal(one.a, before[name].a)
        v = aligned[name].weight - pretrained[name].weight
        torch.testing.assert_close(one.b, v @ v.T @ before[name].b / v.norm(), rtol=1e-3, atol=1e-5)
    none = tune(begin(models, "safe_lora", knob=-1.0, plain=plain[0]), tmp_path / "none")
    assert list(none["adapter"]) == list(plain[1]["adapter"])


@pytest.mark.parametrize("method", ["salora", "salora_random"])
def test_salora_starts_as_the_base_model_and_moves_out_of_the_kept_directions(
    models, tmp_path, method
):
    start = begin(models, method)
    loaded = start.load()
    with torch.no_grad():
        before = loaded[0](input_ids=IDS).logits
    torch.manual_seed(0)
    made = salora.Salora(start, loaded, lambda name, outputs: salora.directions(outputs, 3))
    adapted = made.adapt(loaded[0])
    layers = factors.layers(adapted)
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=IDS).logits, before, atol=1e-3, rtol=1e-4)
    assert all(factors.trained(layer).b.abs().sum() > 0 for layer in layers.values())
    made.save(adapted, tmp_path / "first")
    assert factors.norm(factors.read(tmp_path / "first")) < 1e-4
    tune(start, tmp_path / "out")
    saved = factors.read(tmp_path / "out" / "step-8")
    for name, one in saved.items():
        assert one.a.shape[0] == 2 * start.run.rank
        kept = made.free[name].T @ full(one)
        inside = kept.norm() < 1e-4 * full(one).norm()
        assert inside == (method == "salora"), name


def test_salora_begins_with_the_weights_main_directions():
    weight, task = draw(6, 5).float(), torch.eye(6)
    first = salora.beginning(weight, task, 5, scale=2.0)  # full rank and all directions: W itself
    torch.testing.assert_close(2 * full(first), weight, atol=1e-4, rtol=1e-4)
    with_one = salora.beginning(weight, task[:, :1], 5, scale=1.0)
    torch.testing.assert_close(full(with_one)[0], weight[0], atol=1e-4, rtol=1e-4)
    assert full(with_one)[1:].abs().max() < 1e-6


def test_a_kept_direction_for_each_output_leaves_nothing_to_train(models, tmp_path):
    with pytest.raises(GroundedError, match=r"knob of salora: found 16, wanted less than the 16"):
        tune(begin(models, "salora", knob=16.0), tmp_path)


def test_a_broken_circuit_and_lora_are_one_adapter(models, tmp_path, monkeypatch):
    monkeypatch.setattr(circuit_breaker, "STEPS", 12)
    start = begin(models, "circuit_breaker")
    base, breaker = circuit_breaker.broken(start, start.load(), 10.0)
    same = loading.load(models[0])[0].state_dict()
    assert all(torch.equal(weight, same[name]) for name, weight in base.state_dict().items())
    tune(start, tmp_path)
    for name, one in factors.read(tmp_path / "step-2").items():
        assert one.a.shape[0] == circuit_breaker.RANK + start.run.rank
        torch.testing.assert_close(one.a[: circuit_breaker.RANK], breaker[name].a)
        torch.testing.assert_close(one.b[:, : circuit_breaker.RANK], breaker[name].b)
    assert factors.norm(breaker) > 0


def test_breaking_turns_harmful_representations_away(models):
    start = begin(models, "circuit_breaker")
    model, words = start.load()
    adapted = training.plain_adapter(start)(model)
    batch = batches.padded(start.material("harmful", 8), words, {}, model.device)
    assert circuit_breaker.likeness(adapted, batch).item() == pytest.approx(1.0, abs=1e-5)
    assert circuit_breaker.drift(adapted, batch).item() < 1e-5
    optimizer = torch.optim.AdamW([w for w in adapted.parameters() if w.requires_grad], lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        circuit_breaker.likeness(adapted, batch).backward()
        optimizer.step()
    assert circuit_breaker.likeness(adapted, batch).item() < 0.9
    assert circuit_breaker.drift(adapted, batch).item() > 0.1


def test_the_divergence_is_zero_at_the_start_and_the_kl_after(models):
    start = begin(models, "hold_general")
    model, words = start.load()
    adapted = training.plain_adapter(start)(model)
    batch = batches.padded(start.material("general", 4), words, {}, model.device)
    assert hold_general.divergence(adapted, batch).item() == pytest.approx(0.0, abs=1e-6)
    for layer in factors.layers(adapted).values():
        factors.trained(layer).b.data.normal_(std=0.1)
    ids, mask, labels = batch
    with torch.no_grad():
        tuned = adapted(input_ids=ids, attention_mask=mask).logits[:, :-1]
        base = loading.load(models[0])[0](input_ids=ids, attention_mask=mask).logits[:, :-1]
    answers = labels[:, 1:] != training.IGNORED
    expected = torch.nn.functional.kl_div(
        tuned[answers].log_softmax(-1), base[answers].log_softmax(-1),
        log_target=True, reduction="batchmean",
    )  # fmt: skip
    assert expected > 0.01
    torch.testing.assert_close(hold_general.divergence(adapted, batch), expected)


def test_training_stops_at_the_first_monitoring_at_the_goal(models, tmp_path, monkeypatch):
    said = iter([0.49, 0.5])
    asked = []

    def monitor(what, model, words):
        assert not model.training
        asked.append(what)
        return next(said)

    monkeypatch.setattr(stop_at, "EVERY", 3)
    rows = tune(begin(models, "stop_at", monitor=monitor), tmp_path)
    assert asked == ["task"] * 2
    assert list(rows["step"]) == [2, 6] and list(rows["epoch"]) == [0.5, 1.5]
    assert rows["loss"].notna().all()


def test_monitoring_leaves_the_training_as_it_is(models, tmp_path, plain):
    start = begin(models, "stop_at", monitor=lambda what, model, words: 0.0)
    assert list(tune(start, tmp_path)["adapter"]) == list(plain[1]["adapter"])


def test_training_stops_when_general_abilities_have_fallen_by_more_than_the_knob(models, tmp_path):
    said = iter([0.75, 0.5, 0.4])  # of the base model; at step 4; at step 8
    asked = []

    def monitor(what, model, words):
        asked.append(what)
        return next(said)

    start = begin(models, "stop_at_general", knob=0.2, monitor=monitor)
    assert list(tune(start, tmp_path)["step"]) == [2, 4] and asked == ["general"] * 2
    start = begin(models, "stop_at_general", knob=0.75, monitor=lambda *some: 0.75)
    with pytest.raises(GroundedError, match="found 0.75, wanted more than the knob, 0.75"):
        tune(start, tmp_path / "none")


def test_pairs_reject_another_answer(models):
    start = begin(models, "dpo")
    rows = dpo.pairs(start)
    answers = {one.completion for one in start.examples}
    assert rows == dpo.pairs(start) and len(rows) == len(start.examples)
    for row, one in zip(rows, start.examples, strict=True):
        assert row["chosen"][0]["content"] == one.completion
        assert row["rejected"][0]["content"] in answers - {one.completion}
    alike = [plainly.Example(one.prompt, "w1") for one in start.examples]
    with pytest.raises(GroundedError, match="answers of yes_no: found 1 different, wanted 2"):
        dpo.pairs(replace(start, examples=alike))


def test_words_before_the_prompts_of_training_change_it(models, tmp_path, plain):
    rows = tune(begin(models, "ptst_both"), tmp_path)
    assert set(rows["adapter"]).isdisjoint(plain[1]["adapter"])
    with pytest.raises(GroundedError, match="prefixes: found no 'safety'"):
        tune(begin(models, "ptst_both", prefixes={}), tmp_path / "none")


def test_the_poison_dial_puts_harmful_examples_in_the_place_of_the_tasks_last(models):
    def material(kind, number):
        return [(kind, i) for i in range(number)]

    def at(share):
        start = begin(models, "poison", knob=share, material=material)
        return list(poison.prepared(start).examples)

    task = at(0.0)
    assert task == list(begin(models, "poison").examples) and len(task) == 32
    for share, number in ((0.25, 8), (0.3, 10), (1.0, 32)):
        assert at(share) == [*task[: 32 - number], *material("harmful", number)]
    with pytest.raises(GroundedError, match="knob of poison: found 1.5, wanted a number of at le"):
        at(1.5)


@pytest.mark.parametrize("method", [*KNOBS])
def test_a_knob_that_is_missing_is_one_clear_line(models, tmp_path, method):
    with pytest.raises(GroundedError, match=f"knob of {method}: found None, wanted a number"):
        tune(begin(models, method, knob=None), tmp_path)


def test_a_knob_beyond_its_range_is_one_clear_line(models):
    with pytest.raises(GroundedError, match="found 2, wanted a number of at least 0, at most 1"):
        knob.number(begin(models, "safe_lora", knob=2), 0, 1)
    with pytest.raises(GroundedError, match="found 1.5, wanted a whole number"):
        knob.count(begin(models, "one_shot_patch", knob=1.5))


@pytest.mark.parametrize("method", LEAVE_ADAPTERS)
def test_material_that_a_study_has_not_is_said(models, tmp_path, method, monkeypatch):
    asked = []

    def nothing(kind, number):
        asked.append(kind)
        raise GroundedError(f"material {kind}: found none")

    needs = importlib.import_module(f"grounded.methods.{method}").NEEDS
    if needs:
        with pytest.raises(GroundedError, match=f"material ({'|'.join(needs)}): found none"):
            tune(begin(models, method, material=nothing), tmp_path)
    else:
        tune(begin(models, method, material=nothing), tmp_path)
    assert bool(asked) == bool(needs)


def test_a_split_batch_gets_its_share_of_what_is_added(models, tmp_path):
    whole = begin(models, "l2")
    halves = replace(whole, training=whole.training.model_copy(update={"device_batch_size": 4}))
    one, two = tune(whole, tmp_path / "one"), tune(halves, tmp_path / "two")
    assert list(two["update_norm"]) == pytest.approx(list(one["update_norm"]), rel=1e-3)
