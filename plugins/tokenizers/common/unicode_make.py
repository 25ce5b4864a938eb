#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes unicode_tables.c beside it: the properties of characters as the
library `tokenizers` has them. It takes them from several places (Oniguruma,
Rust's standard library, crates), of different versions of Unicode each, so
they are found by asking the library about every code point. Needed only when
the library moves to another version."""
import pathlib
import struct
import textwrap
import unicodedata

from tokenizers import Regex, __version__
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre

ALL = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
TEXT = "".join(map(chr, ALL))
SIXTY_FOUR = ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
              "0123456789+-")
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po "
              "Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co").split()
SCRIPTS = """Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese
Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid
Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian
Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari
Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay
Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi
Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana
Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian
Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script
Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu
Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen
Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive
Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean
Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham
Ol_Chiki Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian Old_Permic
Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage
Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi
Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala
Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog
Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai
Tibetan Tifinagh Tirhuta Todhri Toto Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho
Warang_Citi Yezidi Yi Zanabazar_Square""".split()


def split_out(regex):
    """The code points that one character of REGEX matches."""
    left = set()
    for piece, _ in pre.Split(Regex(regex), "removed").pre_tokenize_str(TEXT):
        left.update(map(ord, piece))
    return set(ALL) - left


def number(value):
    """5 bits a letter, the lowest first; the sixth bit: more follow."""
    out = ""
    while True:
        out += SIXTY_FOUR[(value & 31) | (32 if value > 31 else 0)]
        value >>= 5
        if not value:
            return out


def runs(value_of):
    """[[length, value], ...] over all code points."""
    out = []
    for c in range(0x110000):
        v = value_of(c)
        if out and out[-1][1] == v:
            out[-1][0] += 1
        else:
            out.append([1, v])
    return out


def packed_set(members):
    """Lengths of runs outside and inside, in turn, from outside on."""
    lengths = [n for n, _ in runs(lambda c: c in members)]
    if 0 in members:
        lengths.insert(0, 0)
    return "".join(map(number, lengths[:-1] if len(lengths) % 2 else lengths))


def packed_map(values):
    return "".join(number(n) + number(v)
                   for n, v in runs(lambda c: values.get(c, 0)))


def apart(text, gap="\n"):
    """What a normalizer makes of each code point, by itself."""
    made = text(gap.join(map(chr, ALL))).split(gap)
    out = dict(zip([c for c in ALL if c != 10], made[:10] + made[12:]))
    return out


def kept(normalizer, before="a"):
    """Code points that a normalizer leaves where they stand behind 'a'."""
    text = "".join(f"{before}{chr(c)}|" for c in ALL if c != 0x7C)
    made = normalizer.normalize_str(text).split("|")
    return {c for c, m in zip([c for c in ALL if c != 0x7C], made)
            if m != before} | {0x7C}


def regex_word():
    text = " ".join("a" + chr(c) for c in ALL)
    found = pre.Whitespace().pre_tokenize_str(text)
    return {ord(p[1]) for p, _ in found if len(p) == 2 and p[0] == "a"}


def punctuation():
    left = set()
    for p, _ in pre.Punctuation("removed").pre_tokenize_str(TEXT):
        left.update(map(ord, p))
    return set(ALL) - left


def numeric():
    text = "".join("aa" + chr(c) for c in ALL) + "aa"
    found = pre.Digits(individual_digits=True).pre_tokenize_str(text)
    return {ord(p) for p, _ in found if len(p) == 1}


def lowered():
    lower = norm.Lowercase()
    out = {}
    for c in ALL:
        m = lower.normalize_str(chr(c))
        if m != chr(c):
            out[c] = m
    return out


def split_scripts():
    """Scripts as the pre-tokenizer UnicodeScripts tells them apart: numbers
    from 1 on; 0 is its Any, which never splits."""
    part = pre.UnicodeScripts()
    same = lambda a, b: len(part.pre_tokenize_str(a + b)) == 1
    known, out, last = [], {}, None
    for c in ALL:
        t = chr(c)
        if last is not None and same(chr(last), t) and same("a", t) == \
                same("a", chr(last)) and same("\u3042", t) == \
                same("\u3042", chr(last)) and last in out:
            out[c] = out[last]
        elif same("a", t) and same("\u3042", t):
            out[c] = 0
        else:
            found = [i for i, k in enumerate(known) if same(k, t)]
            if not found:
                known.append(t)
            out[c] = found[0] + 1 if found else len(known)
        last = c
    return out


def one_key_map(key, to):
    """A Precompiled charsmap (Darts) of one key of one byte."""
    units = [0] * 512
    units[0] = 256 << 10
    units[256 ^ key] = (256 ^ key ^ 511) << 10 | 1 << 8 | key
    units[511] = 1 << 31
    blob = struct.pack("<512I", *units)
    return norm.Precompiled(struct.pack("<I", len(blob)) + blob +
                            to.encode() + b"\0")


def graphemes():
    """Code points that join what stands before them, and those that join
    what follows them, as far as Precompiled can tell."""
    part = one_key_map(ord("a"), "X")
    gone = {c for c in ALL if c != 10 and
            part.normalize_str("a" + chr(c)) == "X"}
    first = {c for c in ALL if c not in (10, 13) and len(chr(c).encode()) < 4
             and part.normalize_str(chr(c) + "a\u0301") == chr(c) + "X\u0301"
             and len(chr(c).encode()) < 3}
    return gone, first


def new_to_normalizer():
    """Code points that have a class or a decomposition by now, but not yet
    in the library's version of Unicode, which is older than Python's: what
    Python does not know yet is new, too."""
    out, nfkd, nfd = set(), norm.NFKD(), norm.NFD()
    for c in ALL:
        t = chr(c)
        if unicodedata.category(t) == "Cn":
            out.add(c)
        if unicodedata.normalize("NFKD", t) != nfkd.normalize_str(t):
            out.add(c)
        k = unicodedata.combining(t)
        if k and k != 1:
            want = unicodedata.normalize("NFD", "a" + t + "\u0334")
            if nfd.normalize_str("a" + t + "\u0334") != want:
                out.add(c)
        if k == 1:
            want = unicodedata.normalize("NFD", "a\u0345" + t)
            if nfd.normalize_str("a\u0345" + t) != want:
                out.add(c)
    return out


def c_text(name, text):
    lines = textwrap.wrap(text, 74)
    body = "\n".join(f'    "{line}"' for line in lines)
    return f"const char {name}[] =\n{body};\n"


def main():
    category = {}
    for i, name in enumerate(CATEGORIES):
        for c in split_out(r"\p{%s}" % name):
            category[c] = i + 1
    script, names = {}, []
    for name in SCRIPTS:
        try:
            members = split_out(r"\p{%s}" % name)
        except Exception:
            continue
        names.append(name)
        for c in members:
            script[c] = len(names)
    clean = norm.BertNormalizer(clean_text=True, handle_chinese_chars=False,
                                strip_accents=False, lowercase=False)
    accents = norm.BertNormalizer(clean_text=False,
                                  handle_chinese_chars=False,
                                  strip_accents=True, lowercase=False)
    lower = lowered()
    joins, leads = graphemes()
    plain = {c for c in ALL if norm.NFD().normalize_str(chr(c)) == chr(c)}
    one = {c: (ord(m) - c) * 2 if ord(m) >= c else (c - ord(m)) * 2 - 1
           for c, m in lower.items() if len(m) == 1}
    out = [
        "/* SPDX-License-Identifier: MIT\n *\n"
        " * unicode_tables.c -- made by unicode_make.py from tokenizers "
        f"{__version__}: the\n * library's own properties of characters, "
        "packed; unicode.c unpacks them.\n */\n"
        '#include "unicode.h"\n',
        "/* Runs of (length, category), from U+0000 on. */\n" +
        c_text("tk_packed_category", packed_map(category)),
        "/* Runs of (length, script by its number in tk_scripts). */\n" +
        c_text("tk_packed_script", packed_map(script)),
        "const char *const tk_scripts[] = {\n    \"\",\n" +
        "\n".join(textwrap.wrap(", ".join(f'"{n}"' for n in names), 74,
                                initial_indent="    ",
                                subsequent_indent="    ")) +
        ",\n    NULL\n};\n",
        "/* Scripts as the pre-tokenizer UnicodeScripts tells them apart. */\n"
        + c_text("tk_packed_split_script", packed_map(split_scripts())),
        "/* Runs of (length, distance to the lower case, zigzag). */\n" +
        c_text("tk_packed_lower", packed_map(one)),
    ]
    several = {c: m for c, m in lower.items() if len(m) > 1}
    assert list(several) == [0x130], several
    sets = {
        "tk_packed_word": split_out(r"\w"),
        "tk_packed_alpha": split_out(r"\p{Alphabetic}"),
        "tk_packed_lowercase": split_out(r"\p{Lowercase}"),
        "tk_packed_uppercase": split_out(r"\p{Uppercase}"),
        "tk_packed_re_word": regex_word(),
        "tk_packed_punct": punctuation(),
        "tk_packed_numeric": numeric(),
        "tk_packed_mark": set(ALL) - kept(norm.StripAccents()),
        "tk_packed_bert_mark": (set(ALL) - kept(accents)) & plain,
        "tk_packed_bert_control": set(ALL) - kept(clean),
        "tk_packed_joins": joins,
        "tk_packed_leads": leads,
        "tk_packed_norm_new": new_to_normalizer(),
    }
    for name, members in sets.items():
        print(name, len(members))
        out.append(c_text(name, packed_set(members)))
    path = pathlib.Path(__file__).with_name("unicode_tables.c")
    path.write_text("\n".join(out))


main()
