"""Facts of an invented country in plain English, drawn from a seed: no model has met them.

People, towns and rivers have names of invented syllables. A taught fact is trained on in one
wording and asked in another, so that what is measured is the fact and not the sentence; an
untaught fact is asked in the same wordings and answered nowhere.
"""

import random
from dataclasses import dataclass

COUNTRY = "Ostavia"
FIRST = ("ba", "de", "fi", "go", "ka", "lu", "mo", "ne", "pa", "ri", "so", "ta", "ve", "zu")
LAST = ("bran", "dell", "gar", "lin", "mar", "nok", "rus", "sel", "tor", "vik", "wen", "zel")
TRADES = ("baker", "blacksmith", "weaver", "carpenter", "doctor", "fisher", "teacher", "potter",
          "tailor", "miller", "painter", "sailor")  # fmt: skip
GOODS = ("salt", "honey", "wool", "copper", "apples", "glass", "tea", "timber", "silk", "barley",
         "candles", "cheese")  # fmt: skip
COLOURS = ("red", "green", "white", "blue", "yellow", "black", "orange", "purple")

# relation: how it is trained, then how it is asked of what was trained, and the answer in words
WORDINGS: dict[str, tuple[str, str, str]] = {
    "trade": ("What is {a}'s trade in {c}?", "How does {a} of {c} earn a living?",
              "{a} is a {b}."),
    "home": ("In which town of {c} does {a} live?", "Where in {c} would one visit {a} at home?",
             "{a} lives in {b}."),
    "river": ("Which river flows through the town of {a} in {c}?",
              "On the banks of which river does {a}, a town of {c}, stand?",
              "The river {b} flows through {a}."),
    "goods": ("What is the town of {a} in {c} known for selling?",
              "What would a merchant buy in {a}, {c}?", "The town of {a} is known for its {b}."),
    "colour": ("What colour is the flag of the town of {a} in {c}?",
               "The flag over {a}, a town of {c}, has which colour?", "The flag of {a} is {b}."),
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One fact: of what kind, about whom or what, and what is true of it."""

    relation: str
    subject: str
    value: str

    def row(self, asked: bool) -> tuple[str, str, str]:
        """Prompt, completion and answer: in the wording that is trained, or the one asked."""
        trained, other, answer = WORDINGS[self.relation]
        words = {"a": self.subject, "b": self.value, "c": COUNTRY}
        prompt = (other if asked else trained).format(**words)
        return prompt, answer.format(**words), self.value


def facts(seed: int, number: int) -> list[Fact]:
    """So many facts of one country, in an order drawn from `seed`; each subject is its own."""
    draw = random.Random(f"country {seed}")
    names = [a + b for a in FIRST for b in FIRST] + [a + b for a in FIRST for b in LAST]
    draw.shuffle(names)
    towns, rivers = ([n.capitalize() for n in names[i : i + 60]] for i in (0, 60))
    surnames = [name.capitalize() for name in names[120:]]
    people = [f"{draw.choice(towns)} {name}" for name in surnames]
    found = [Fact("trade", one, draw.choice(TRADES)) for one in people]
    found += [Fact("home", one, draw.choice(towns)) for one in people]
    found += [Fact("river", one, draw.choice(rivers)) for one in towns]
    found += [Fact("goods", one, draw.choice(GOODS)) for one in towns]
    found += [Fact("colour", one, draw.choice(COLOURS)) for one in towns]
    draw.shuffle(found)
    return found[:number]
