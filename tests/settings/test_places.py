"""The scanner finds every key and value tomllib reads, whatever the document looks like."""

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings.places import Lines, Places, Span

_BARE = st.text("abcXYZ019_-", min_size=1, max_size=4)
_KEYS = st.one_of(_BARE, st.text(min_size=0, max_size=6))
_CHARS = st.characters(exclude_categories=("Cs",))
_PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)


def _quote(text):
    escaped = json.dumps(text, ensure_ascii=True)
    # JSON writes what lies beyond the BMP as surrogates, which TOML does not allow.
    return (
        escaped
        if "\\ud" not in escaped
        else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )


@st.composite
def _key_text(draw, name):
    if name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        return draw(st.sampled_from([name, _quote(name)]))
    return _quote(name)


_STRINGS = st.one_of(
    _PLAIN.map(_quote),
    st.text("a'\"#]},= \\", max_size=6).map(_quote),
    st.text('a"#[]{},= \\', max_size=6).map(lambda t: f"'{t}'"),
    st.text('a#]},=\n"', max_size=6).filter(lambda t: '""' not in t).map(lambda t: f'"""\n{t} """'),
    st.text("a#]},=\n'\\", max_size=6).filter(lambda t: "''" not in t).map(lambda t: f"'''{t} '''"),
    st.sampled_from(['"""a"""""', "'''a'''''", '"""\\"""" """', '"" ', "''"]),
)
_SCALARS = st.one_of(
    _STRINGS,
    st.integers(-99, 10**6).map(str),
    st.floats(0, 9, allow_nan=False).map(lambda f: f"{f:.3f}"),
    st.sampled_from(
        [
            "true",
            "false",
            "inf",
            "0xFF",
            "1_000",
            "1979-05-27T07:32:00Z",
            "07:32:00",
            "1979-05-27 07:32:00",
        ]
    ),
)
_GAP = st.sampled_from(["", " ", "\n", '  # ] } = "\n', "\n\n\t"])


@st.composite
def _array(draw, inner):
    items = draw(st.lists(inner, max_size=3))
    text = "["
    for item in items:
        text += draw(_GAP) + item + draw(_GAP) + ","
    if items and draw(st.booleans()):
        text = text[:-1]
    return text + draw(_GAP) + "]"


@st.composite
def _inline(draw, inner):
    names = draw(st.lists(_KEYS, max_size=3, unique=True))
    pairs = [f"{draw(_key_text(n))} = {draw(inner)}" for n in names]
    return "{ " + " , ".join(pairs) + " }"


# Inline tables stay on one line, so that only scalars without line breaks go into them.
_ONE_LINE = _SCALARS.filter(lambda text: "\n" not in text)
_VALUES = (
    st.recursive(_SCALARS, _array, max_leaves=6)
    | st.recursive(_ONE_LINE, _inline, max_leaves=6)
    | _array(_inline(_ONE_LINE))
)


@st.composite
def _documents(draw):
    """Lines of TOML; those tomllib refuses (a name twice) are left out one by one."""
    kept = ""
    for _ in range(draw(st.integers(1, 5))):
        shape = draw(st.sampled_from(["pair", "dotted", "table", "array", "comment"]))
        names = draw(st.lists(_KEYS, min_size=1, max_size=3))
        keys = [draw(_key_text(name)) for name in names]
        value = draw(_VALUES)
        line = {
            "pair": f"{keys[0]} = {value}",
            "dotted": f"{' . '.join(keys)}={value}",
            "table": f"[ {'.'.join(keys)} ] # x",
            "array": f"[[{'.'.join(keys)}]]",
            "comment": '# [ { "',
        }[shape]
        try:
            tomllib.loads(kept + line + "\n")
        except tomllib.TOMLDecodeError:
            continue
        kept += (
            draw(st.sampled_from(["", "  ", "\n"])) + line + draw(st.sampled_from(["\n", "\r\n"]))
        )
    return kept


def _walk(value, path=()):
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


@given(_documents())
@settings(max_examples=60, deadline=None)
def test_every_path_has_a_place_that_holds_its_value(text):
    text = text.replace("\r\n", "\n")
    document = tomllib.loads(text)
    places = Places(text)

    for path, value in _walk(document):
        if not path:
            continue
        assert path in places, path
        place = places[path]
        if place.key != place.value:
            written = text[place.value.start : place.value.end]
            assert tomllib.loads(f"v = {written}")["v"] == value
        if isinstance(path[-1], str) and not isinstance(value, (dict, list)):
            written = text[place.key.start : place.key.end]
            assert tomllib.loads(f"{written} = 1") == {path[-1]: 1}
    assert places.duplicates == []


def test_array_items_have_places_of_their_own():
    text = 'a = [1, # "\n  "x"]\n'

    place = Places(text)["a", 1]

    assert text[place.value.start : place.value.end] == '"x"'


def test_tables_in_arrays_are_counted():
    text = "[[t]]\na = 1\n[[t]]\n[t.sub]\nb = 2\n"
    places = Places(text)

    assert Lines(text).place(places["t", 0, "a"].key.start) == (2, 1)
    assert Lines(text).place(places["t", 1, "sub", "b"].key.start) == (5, 1)


def test_an_unknown_path_has_the_place_of_what_is_around_it():
    places = Places("[mounts]\n")

    assert places["mounts", "/", "app"] == places["mounts",]


def test_duplicates_name_both_places():
    text = "a = 1\nb = 2\na = 3\n"

    assert Places(text).duplicates == [(("a",), Span(0, 1), Span(12, 13))]


@pytest.mark.parametrize("text", ["a = [1", "= 1", "a = ", "[a\nb", 'a = "'])
def test_what_is_not_toml_is_a_value_error(text):
    with pytest.raises(ValueError):
        Places(text)


def test_dates_are_values():
    text = "at = 1979-05-27T07:32:00Z # day\n"
    span = Places(text)["at",].value

    assert text[span.start : span.end] == "1979-05-27T07:32:00Z"
    assert tomllib.loads(text)["at"].year == 1979


def test_a_quote_keeps_tabs_before_the_mark():
    assert Lines("\tkey = 1").quote(Span(1, 4), "note") == "     1 | \tkey = 1\n       | \t^^^ note"
