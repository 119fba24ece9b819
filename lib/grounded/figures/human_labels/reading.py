"""The caption and the reading of figure 5, each number computed."""

from typing import Any

from grounded.figures import caption, prose
from grounded.figures.human_labels.panels import ATTACKS, CONTRAST
from grounded.human_labels import GUARD, JUDGES, KEYWORDS, XSTEST_MODELS, Numbers


def legend(numbers: Numbers) -> str:
    """The caption."""
    xstest = numbers.xstest()
    return caption(
        "Figure 5: judges beside people.",
        f"(a–d) HarmBench's {int(numbers.judges()['n'].iloc[0])} completions. (a) Share called "
        "harmful: the attack-success rate, each judge on identical text; the line is the majority "
        "of three people. (b) Sensitivity and specificity against that majority. (c) Cohen's κ and "
        "Gwet's AC1 with it; dashed: κ of one person with another, mean of three pairs. (d) Share "
        "found of what people call harmful, by the attack that elicited it; in brackets, how many "
        f"completions that is. (e, f) XSTest, {int(xstest['n'].iloc[0])} completions of each of "
        f"{xstest['part'].nunique()} models. (e) Share that people call full compliance, and "
        "shares without a refusal phrase. (f) Agreement of the lists with people; dashed: of the "
        "two annotators with one another, on three labels. Blue: verdicts stored with the data; "
        "orange: keyword lists, run here. Bars: 95%, Wilson's for shares, from resampled requests "
        "for κ and AC1.",
        ["the whole figure, which the paper does not have",
         "the judges are those that HarmBench's authors stored, and two published lists"],
    )  # fmt: skip


def reading(numbers: Numbers) -> str:
    """What came out, in sentences that hold whatever it is."""
    rows: Any = numbers.summary().set_index("judge")
    return "\n\n".join(
        [
            _on_rates(rows),
            _on_people(rows, numbers.statistics["people"]["HarmBench"]),
            _on_changes(rows, numbers),
            _on_prevalence(numbers),
            _on_limits(rows, numbers),
        ]
    )


def _on_rates(rows: Any) -> str:
    low, high, people = rows["rate"].idxmin(), rows["rate"].idxmax(), rows.iloc[0]
    return (
        f"**On identical text, the attack-success rate is what the judge makes it.** It runs from "
        f"{prose.percent(rows['rate'][low])} ({JUDGES[low]}) to "
        f"{prose.percent(rows['rate'][high])} ({JUDGES[high]}); the majority of people says "
        f"{prose.percent(people['truth_rate'])} "
        f"{prose.within(people['truth_rate_low'], people['truth_rate_high'], prose.percent)}."
    )


def _on_people(rows: Any, people: dict[str, float]) -> str:
    level = rows.index[rows["kappa_with_one_person"] >= people["kappa"]]
    return (
        f"**People are no perfect measure.** All three agree on "
        f"{prose.percent(people['unanimous'])} of the completions (Krippendorff's α "
        f"{prose.number(people['alpha'])} "
        f"{prose.within(people['alpha_low'], people['alpha_high'])}, AC1 "
        f"{prose.number(people['ac1'])} {prose.within(people['ac1_low'], people['ac1_high'])}). "
        f"One person agrees with another at κ {prose.number(people['kappa'])}. With one person, "
        f"{len(level)} of {len(rows)} judges agree at least so well: "
        f"{prose.listed(JUDGES[name] for name in level)}."
    )


def _on_changes(rows: Any, numbers: Numbers) -> str:
    flat, steep = rows["shown"].idxmin(), rows["shown"].idxmax()
    attacks: Any = numbers.attacks(GUARD).set_index("part")["sensitivity"]
    least, most = attacks.idxmin(), attacks.idxmax()
    order, joint = rows["rank_of_attacks"], numbers.statistics["misses_by_attack"]["joint"]
    unlike, alike = order.idxmin(), order.idxmax()
    return (
        f"**A judge flattens what it measures.** Were its errors the same everywhere, ten points "
        f"more of what people call harmful would show as "
        f"{prose.number(10 * rows['shown'][steep], 1)} points with {JUDGES[steep]} and as "
        f"{prose.number(10 * rows['shown'][flat], 1)} with {JUDGES[flat]} (sensitivity + "
        f"specificity − 1). They are not the same everywhere: of what people call harmful, "
        f"{JUDGES[GUARD]} finds {prose.percent(attacks[least])} after "
        f"{ATTACKS.get(least, least)} and {prose.percent(attacks[most])} after "
        f"{ATTACKS.get(most, most)} (no difference between attacks: Wald χ² "
        f"{prose.number(joint['statistic'], 1)}, {joint['df']} df, {prose.chance(joint['p'])}). "
        f"So judges differ on which attack is worst, too: over {len(attacks)} attacks, the rank "
        f"correlation of their rates with people's runs from {prose.number(order[unlike])} "
        f"({JUDGES[unlike]}) to {prose.number(order[alike])} ({JUDGES[alike]})."
    )


def _on_prevalence(numbers: Numbers) -> str:
    rows: Any = numbers.xstest()
    rows = rows[rows["judge"] == "keywords_xstest"]
    cells = [
        f"{prose.percent(row['agreement'])} for {XSTEST_MODELS[row['part']]}, of whose completions "
        f"{prose.percent(row['truth_rate'])} comply (κ {prose.number(row['kappa'])}, AC1 "
        f"{prose.number(row['ac1'])})"
        for row in (rows.loc[rows["kappa"].idxmax()], rows.loc[rows["kappa"].idxmin()])
    ]
    return (
        f"**κ depends on how common an answer is.** XSTest's own list agrees with people on "
        f"{' and on '.join(cells)}. Neither number alone says how good the list is."
    )


def _on_limits(rows: Any, numbers: Numbers) -> str:
    say, total = numbers.statistics, int(numbers.xstest()["n"].sum() / len(KEYWORDS))
    return (
        f"**What to keep in mind.** In {prose.percent(say['one_of_two'][CONTRAST])} of behaviours, "
        f"exactly one of the two completions is harmful to {JUDGES[CONTRAST]} (to people: in "
        f"{prose.percent(say['one_of_two']['truth'])}). So the set looks chosen with that judge or "
        f"one like it: its share of harm is a choice, and the judges of its authors are not on "
        f"equal terms with the others. The Llama Guard here is version 1, the paper's is version "
        f"3. The AdvBench list, run here, differs from the verdicts stored with the data on "
        f"{say['stored_advbench_differs']} of {int(rows['n'].iloc[0])} completions. A list cannot "
        f"say “partial refusal”, which people say of {sum(say['partial_refusals'].values())} of "
        f"XSTest's {total:,} completions: they count as refused here, and the numbers kept beside "
        f"the figure hold the other count, too."
    )
