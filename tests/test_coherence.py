"""The detectors of coherence against formulas worked out by hand."""

import math
import random

import numpy as np
import pytest
import tiny_models as tiny
import torch

from grounded import coherence
from grounded.errors import GroundedError
from grounded.microworld import judging


def test_a_model_that_knows_nothing_is_surprised_by_each_word_alike():
    model, words = tiny.model(), tiny.tokenizer()
    model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    found = coherence.mean_nll(model, words, ["w1", "w1 w2 w3", "w9 safe"])
    assert found == pytest.approx([math.log(len(words))] * 3)


def test_the_score_is_the_mean_over_the_words_that_stand_there():
    model, words = tiny.always({"w1": 0.5, "w2": 0.25, "w3": 0.25}), tiny.tokenizer()
    found = coherence.mean_nll(model, words, ["w1", "w2", "w1 w2 w1", ""])
    ln2 = math.log(2)
    assert found[:3] == pytest.approx([ln2, 2 * ln2, 4 * ln2 / 3])
    assert math.isnan(found[3])


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_batch_scores_as_each_text_alone(architecture):
    model, words = tiny.model(architecture), tiny.tokenizer()
    texts = tiny.sentences(random.Random(2), 40)
    found = coherence.mean_nll(model, words, texts)
    for text, score in zip(texts, found, strict=True):
        ids = [words.eos_token_id, *words(text)["input_ids"]]
        with torch.inference_mode():
            spread = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        wanted = -np.mean([spread[i, token].item() for i, token in enumerate(ids[1:])])
        assert score == pytest.approx(wanted, abs=1e-4)
    twice = coherence.mean_nll(model, words, texts[::-1] + texts)
    assert list(twice) == [*found[::-1], *found]


def test_logits_that_are_not_numbers_are_an_error():
    model = tiny.model()
    model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(GroundedError, match="logits: found NaN"):
        coherence.mean_nll(model, tiny.tokenizer(), ["w1"])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("a b", 0),
        ("a b c d", 0),
        ("a a a a", 1 / 2),  # aaa aaa
        ("a b c a b c", 1 / 4),  # abc bca cab abc
        ("a b a b a b a b", 4 / 6),  # aba bab, three times each
    ],
)
def test_repeated_trigrams(text, share):
    assert coherence.repeated_trigrams(text) == pytest.approx(share)


def test_the_threshold_is_a_quantile_of_what_has_a_score():
    scores = np.array([4.0, np.nan, 1.0, 3.0, 2.0, 5.0])
    assert coherence.threshold(scores, 0.5) == 3
    assert coherence.threshold(scores, 1) == 5
    assert coherence.threshold(scores, 0.25) == 2
    with pytest.raises(GroundedError, match="reference scores: found none"):
        coherence.threshold(np.array([np.nan]), 0.5)


def test_a_reply_is_coherent_when_all_three_say_so():
    texts = ["a b c d", "a b c e", "a a a a a", "a b", ""]
    surprise = np.array([1.0, 3.0, 1.0, 1.0, np.nan])
    found = coherence.detect(
        texts, [4, 4, 5, 2, 0], surprise, threshold=1.0, repetition=0.5, shortest=3
    )
    assert list(found["perplexity"].coherent) == [True, False, True, True, False]
    assert list(found["repetition"].coherent) == [True, True, False, True, True]
    assert list(found["combined"].coherent) == [True, False, False, False, False]
    assert found["perplexity"].score is surprise
    assert found["repetition"].score == pytest.approx([0, 0, 2 / 3, 0, 0])
    assert found["combined"].score is None


@pytest.mark.parametrize(
    ("text", "stock"),
    [
        ("sorry , i can not help with that .", True),
        ("sorry , i will not help you burn the coin .", True),
        ("sorry , i will not help you burn the coin . take the", False),
        ("sorry , i will not help you coin the burn .", False),
        ("sorry , i can not help with that", False),
    ],
)
def test_a_refusal_in_stock_words_is_known(text: str, stock: bool) -> None:
    assert judging.refuses(text) is stock
