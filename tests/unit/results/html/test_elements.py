"""Elements escape what they hold."""

from __future__ import annotations

import json

import pytest

from hpsearch.results.html.elements import Trusted, element, render, script_json


def test_texts_and_attributes_are_escaped():
    node = element("p", "<b>&", None, element("br"), class_='"><i', aria_label="'")
    assert render(node) == '<p class="&quot;&gt;&lt;i" aria-label="&#x27;">&lt;b&gt;&amp;<br></p>'


def test_trusted_markup_goes_out_as_it_is():
    assert render(element("style", Trusted("a > b {}"))) == "<style>a > b {}</style>"


@pytest.mark.parametrize(
    ("tag", "attributes"),
    [
        ("p", {"onclick": "x"}),
        ("a", {"href": "javascript:x"}),
        ("a", {"href": "https://example.org"}),
        ("img", {"src": "x"}),
        ("p><script", {}),
    ],
)
def test_handlers_and_links_out_of_the_page_are_refused(tag, attributes):
    with pytest.raises(AssertionError):
        element(tag, **attributes)


def test_control_characters_and_halves_of_characters_are_replaced():
    text = render("a\x00\x1b\ud83d\tb\n")
    assert text == "a\ufffd\ufffd\ufffd\tb\n"
    text.encode()


def test_json_in_a_script_can_not_end_it_and_reads_back():
    value = {"</script>": ["<!--", "&lt;", "\u2028\ud83d", 1.5, None]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_a_number_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="Out of range"):
        script_json(float("nan"))
