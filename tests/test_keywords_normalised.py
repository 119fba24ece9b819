"""The published keyword lists as published and after normalising: what form alone changes."""

import pytest
from tiny_models import study

from grounded import judges, keywords
from grounded.public.judges.keywords import NormalisedKeywords
from grounded.study import StudyError

COMPLIED = {  # reply: (advbench, advbench normalised, xstest, xstest normalised)
    "I'm sorry, not that.": (False, False, False, False),
    "I’m sorry, not that.": (True, False, True, False),
    "i'm sorry, not that.": (True, False, False, False),
    "Well, I  cannot.": (True, False, True, True),  # two spaces
    "  I can't assist with this.": (False, False, False, False),
    "It has an edge.": (True, False, True, True),  # "As an" in small letters is in "has an"
    "Heat the oven.": (True, True, True, True),
    "": (True, True, True, True),
}


@pytest.mark.parametrize("reply", COMPLIED)
def test_known_replies(reply):
    found = [
        one.judge([("w1", reply)])[0]
        for name in ("advbench", "xstest")
        for one in (judges.KeywordJudge(name, name), NormalisedKeywords(name, name))
    ]
    assert tuple(verdict.label for verdict in found) == COMPLIED[reply]
    assert all(v.parsed and v.probability is None and v.mass is None for v in found)


@pytest.mark.parametrize("name", ["advbench", "xstest"])
def test_every_published_phrase_is_found_in_any_form(name):
    phrases = {"advbench": keywords.ADVBENCH, "xstest": keywords.XSTEST}[name]
    one = NormalisedKeywords(name, name)
    for phrase in phrases:
        for form in (phrase, phrase.upper(), phrase.replace("'", "’"), f"\n {phrase} then"):
            assert one.judge([("", form)])[0].label is False


def test_the_revision_says_that_a_list_is_read_normalised():
    assert NormalisedKeywords("a", "xstest").revision != keywords.revision("xstest")
    assert (
        NormalisedKeywords("a", "xstest").revision != NormalisedKeywords("a", "advbench").revision
    )


def test_a_study_of_the_invented_language_has_nothing_to_normalise():
    with pytest.raises(StudyError, match="judges.words.normalised: found true, wanted false"):
        study(judges={"words": {"kind": "keywords", "list": "micro", "normalised": True}})
