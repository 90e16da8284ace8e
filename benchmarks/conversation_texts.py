"""Synthetic texts of many languages and scripts, with the frequencies of words of real text (Zipf's law)."""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from app.services.search.documents import DocumentTerms, document_terms

COMMON_WORD: Final = "system"
"""Word of every fourth Latin text."""
COMPOUND: Final = "krankenversicherung"
CHINESE_WORD: Final = "数据库"
_VOCABULARY: Final = 20_000
_SYLLABLES = {
    "latin": ["ba", "re", "ti", "no", "stra", "me", "lo", "ver", "sich", "un", "ga", "pre", "con", "da", "fi", "ro"],
    "cyrillic": ["ра", "сто", "пре", "ви", "на", "ко", "ли", "те", "ми", "зна", "по", "ва"],
    "arabic": ["مع", "با", "تس", "نو", "لا", "كر", "دي", "سم", "حر", "في"],
    "greek": ["κα", "το", "ρι", "με", "λο", "στα", "νη", "πο"],
}
_CHARACTERS = {
    "chinese": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴切",
    "japanese": "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんアイウエオカキクケコサシスセソタチツテト日本語学生時間会社電車天気質問回答",
    "thai": "กขคงจชซญดตถทนบปผพฟมยรลวสหอะาิีึืุูเแโใไ",
}
_SHARES = {
    "latin": 60,
    "cyrillic": 8,
    "arabic": 4,
    "greek": 2,
    "chinese": 14,
    "japanese": 8,
    "thai": 4,
}


class SampleText(NamedTuple):
    """A text, and its terms."""

    text: str
    terms: DocumentTerms


def sample_texts(count: int, seed: int = 1) -> list[SampleText]:
    """Return texts of 8 to 15 words, always the same ones."""
    source = random.Random(seed)  # noqa: S311 - not a secret
    vocabularies = {script: _vocabulary(source, syllables) for script, syllables in _SYLLABLES.items()}
    weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
    scripts = source.choices(list(_SHARES), list(_SHARES.values()), k=count)
    texts = []
    for number, script in enumerate(scripts):
        if script in vocabularies:
            text = _spaced_text(source, script, vocabularies[script], weights)
        else:
            text = _unspaced_text(source, script, number)
        texts.append(SampleText(text, document_terms(text, is_title=False)))
    return texts


def _vocabulary(source: random.Random, syllables: Sequence[str]) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < _VOCABULARY:
        # Short words first: they are the frequent ones.
        words["".join(source.choices(syllables, k=min(1 + len(words) // 200, source.choice((2, 2, 3, 3, 4, 5)))))] = (
            None
        )
    return list(words)


def _spaced_text(source: random.Random, script: str, words: Sequence[str], weights: Sequence[float]) -> str:
    chosen = source.choices(words, cum_weights=weights, k=source.randint(8, 15))
    if script == "latin":
        roll = source.random()
        if roll < 0.25:  # noqa: PLR2004 - the share
            chosen[-1] = COMMON_WORD
        elif roll < 0.2501:  # noqa: PLR2004 - the share
            chosen[-1] = COMPOUND
    return " ".join(chosen).capitalize() + "."


def _unspaced_text(source: random.Random, script: str, number: int) -> str:
    characters = _CHARACTERS[script]
    text = "".join(source.choices(characters, k=source.randint(15, 30)))
    if script == "chinese" and number % 20 == 0:
        text = text[:5] + CHINESE_WORD + text[5:]
    return text + "。"
