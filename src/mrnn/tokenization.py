"""Caption text to words and back.

The words are those of the Stanford PTB tokenizer as the COCO caption scorer runs it: lower case,
contractions split, brackets as signs, single marks of punctuation dropped.
"""

import re
from collections.abc import Sequence

# ruff: noqa: RUF001 (look-alike quotes and dashes are the matter of this file)
_LETTER = (
    r"(?:[^\W\d_²³¹¼-¾⁰-₎⅐-⅟①-⓿❶-➓]"
    r"|[\u0300-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed]"  # accents
    r"|[\u0900-\u0963\u0970-\u0dff\u0e31-\u0e4e])"  # vowel signs
)
_TOKEN = re.compile(
    rf"""
\s?(
      [a-z]+(?=,?(?:\s|$)) | [.,;"](?=\s|$) | [¼½¾⅓⅔]  # the most common first, for speed
    | https?://[^\s"<>|(){{}}\[\]]+[^\s"'<>|.!?(){{}},;:&\[\]-]
    | <?[\w.%+-]{{1,64}}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?>?
    | (?:[\w-]{{1,63}}\.){{1,8}}(?:com|net|org|edu)\b(?:/[^\s"<>|()]+[^\s"<>|.!?(){{}},-])?
    | [a-z]*[a-mo-z](?=n['’‘`]t) | n['’‘`]t(?!{_LETTER})  # do n't
    | ['’](?:[smd]|re|ve|ll)(?!{_LETTER})  # man 's
    | '(?:tis|twas)\b | ['’](?:em|till?|cause|[2-9]0s|\d\d(?!\S)|n(?:['’]|(?!{_LETTER})))
    | (?:ol|dunkin|somethin)['’](?!{_LETTER}) | y['’](?=all|know)
    | (?:c['’](?:mon|est)|cap['’]n|ev'ry|li'l|nor'easter)(?!{_LETTER})
    | {_LETTER}+[aeiouy]['’‘`][aeiou]{_LETTER}*  # ma'am
    | [dol]['’‘`](?:{_LETTER}|\d){{2,}}(?:-{_LETTER}+)* | [dlj]['’](?!s\b) | s'mores  # o'clock
    | (?-i:[A-HJ-XZn])['’‘`]{_LETTER}{{2,}}  # O'Brien
    | [a-z0-9]+(?:-[a-z0-9]+){{0,2}}(?:/[a-z0-9]+(?:-[a-z]+){{0,2}}){{1,2}}  # 1/2-inch, and/or
    | [^\W_][\w.,]{{0,60}}(?:-[^\W_]+)*-(?:(?:[a-z]\.){{2,}}|[^\W_]+)  # t-shirt
    | [^\W_]+(?:[-_‐‑][^\W_]+)+
    | (?-i:[A-Z]+(?:[+&][A-Z]+)+|[A-Z]*\$)  # AT&T, US$
    | [a-z](?:\.[a-z])+\.(?!{_LETTER}) | (?:ph|ed)\.d\.  # p.m.
    | [a-z]\.(?!{_LETTER}|\s*$|\s+(?-i:An?|The|There|This|He|She|It|They|In|One|Some)\b)  # a W.
    | (?:m[rst]|mrs|drs?|profs?|ste?|[js]r|lt|col|gen|sgt|capt|cpl|pvt|maj|adm|rev|gov|sen|rep|pres
        |hon|ft|ave|blvd|rd|dept|bldg|bros|inc|co|corp|ltd|vs|etc|cf|al|jan|feb|mar|apr|ju[nl]|aug
        |sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|ph|est|tel|ext|sq|univ|esq)\.(?!{_LETTER})
    | (?:nos?|figs?|ca|pp|op|approx)\.(?=\s?\d)  # no. 5
    | {_LETTER}(?:{_LETTER}|\d)*(?:[.!?]{_LETTER}(?:{_LETTER}|\d)*)*
    | (?:(?<!-)[+-])?(?:\d+|(?<!\.))(?:[.,:]\d+)+  # 1,000
    | (?<!-)[+-]\d+(?:-\d+)* | \d(?:{_LETTER}|\d)*  # -5, 4x4
    | -[lr][rcs]b- | </?[a-z][^<>]*> | &(?:amp|lt|gt|quot|apos|nbsp);
    | [<>]?[:;=][-o*']?[()dp\\{{@|\[\]](?!{_LETTER})  # smileys
    | \#{_LETTER}+ | @[a-z_]\w* | -{{5,}} | [?!]{{2,}} | \*+ | _+ | @+ | \#+ | << | >>
    | [][(){{}}<>=%&+/\\|~^¡-ª¬-º¿×÷‚†-‣‰-‸※⁰-₎€℀-⯿、-〆،؛؟・！-･]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}
_SPELLING = (
    {bracket: sign for sign, bracket in _BRACKETS.items()}
    | {f"’{ending}": f"'{ending}" for ending in ("s", "m", "d", "re", "ve", "ll")}
    | {"n’t": "n't", "n‘t": "n`t", "'tis": "'t is", "'twas": "'t was", "cannot": "can not"}
    | {"gonna": "gon na", "wanna": "wan na", "gotta": "got ta", "lemme": "lem me"}
    | {"gimme": "gim me", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
    | {"£": "#", "€": "$", "¢": "cents", "&amp;": "&", "&lt;": "<", "&gt;": ">"}
    | dict.fromkeys((".", ",", ";", '"', "&quot;", "&apos;", "&nbsp;"), "")
)
_JOIN = re.compile(
    r" (?=(?:'(?:[smd]|re|ve|ll)|n't)(?: |$))|(?<=\by') (?=all|know)|(?<=\bcan) (?=not(?: |$))"
    r"|(?<=\b(?:gon|wan)) (?=na(?: |$))|(?<=\bgot) (?=ta(?: |$))|(?<=\b(?:lem|gim)) (?=me(?: |$))"
    r"|(?<=[(\[{]) | (?=[)\]}])"
)


def tokenize(caption: str) -> list[str]:
    """The words of a caption, e.g. "A man's hat." is ["a", "man", "'s", "hat"].

    Unlike the reference, letters beyond U+FFFF are kept.
    """
    words = [word.lower() for word in _TOKEN.findall(caption.replace("\xad", ""))]
    text = " ".join([_SPELLING.get(word, word) for word in words])
    return text.replace("(", "-lrb-").replace(")", "-rrb-").split()


def join_words(words: Sequence[str]) -> str:
    """Words as readable text, e.g. ["a", "man", "'s", "hat"] is "a man's hat"."""
    return _JOIN.sub("", " ".join([_BRACKETS.get(word, word) for word in words]))
