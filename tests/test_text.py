"""No text from outside moves a cursor or turns the direction of writing, wherever it is shown."""

import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from streamb.api.shapes import LongText, TagName
from streamb.cli.output import Answer, Facts, Table, print_json, print_output, say
from streamb.monitoring.channels.channel import one_line
from streamb.monitoring.channels.log import LogChannel
from streamb.monitoring.channels.pagerduty import pagerduty_body
from streamb.monitoring.channels.slack import slack_body
from streamb.monitoring.channels.teams import teams_body
from streamb.monitoring.channels.wording import plain_text, subject
from streamb.options import ShortText
from streamb.text import shown, shown_in_json, shown_within
from tests.monitoring.channels.notifications import notification

OBEYED = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x00",
    "\x08",
    "\r",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ufeff",
]
OBEYED += ["\u061c", "\u200b", "\u00ad", "\U000e0041"]
HARMLESS = ["iris", "Zürich", "東京", "a b", "emoji 🙂", "न\u094d", "a\u00a0b"]
texts = st.text(st.characters(exclude_categories=()), max_size=30)


def obeyed(text: str, but: str = "") -> list[str]:
    return [one for one in text if one not in but and unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


@given(texts)
def test_nothing_that_is_shown_is_obeyed(text):
    assert not obeyed(shown(text))
    assert not obeyed(shown(text, lines=True), "\n\t")
    assert shown(shown(text)) == shown(text)
    assert not obeyed(one_line(text, 1_000))
    assert not obeyed(json.dumps(shown_within({text: [text]}), ensure_ascii=False))


@given(
    st.dictionaries(texts.filter(lambda text: not obeyed(text) or all(ord(one) < 0xD800 for one in text)), st.text())
)
def test_a_json_document_keeps_its_meaning(document):
    raw = json.dumps(document, ensure_ascii=False)
    assert json.loads(shown_in_json(raw)) == document
    assert not obeyed(shown_in_json(raw), "\n\t")


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays(text):
    assert shown(text) == text
    assert TypeAdapter(ShortText).validate_python(text) == text
    assert TypeAdapter(TagName).validate_python(text) == text


@pytest.mark.parametrize("text", OBEYED)
@pytest.mark.parametrize("kind", [ShortText, TagName, LongText])
def test_names_with_such_characters_are_refused(kind, text):
    if (text == "\r" and kind is LongText) or (text == "\U000e0041" and kind is not TagName):
        pytest.skip("a line break in a text; tags of languages are only escaped")
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(f"a{text}b")


@pytest.mark.parametrize("text", OBEYED)
def test_the_command_line_shows_an_escape(text, capsys, monkeypatch):
    name = f"a{text}b"
    Table({"name": "name"}, [{"name": name}], empty="").print()
    Facts({name: {name: name}}).print()
    Answer(None, f"the model {name}").print()
    print_json({name: name})
    say(name)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_output(name)
    told = capsys.readouterr()
    assert not obeyed(told.out, "\n\t"), told.out
    assert not obeyed(told.err, "\n\t"), told.err


@pytest.mark.parametrize("text", OBEYED)
def test_no_message_of_a_channel_holds_one(text, caplog):
    name = f"a{text}b"
    told = notification(labels={"model": name, name: name}, summary=name, description=name)
    bodies = [pagerduty_body(told, "key"), slack_body(told), teams_body(told)]
    with caplog.at_level(logging.INFO):
        LogChannel("log").send(told)
    messages = [plain_text(told), subject(told), *(record.getMessage() for record in caplog.records)]
    messages += [json.dumps(json.loads(body), ensure_ascii=False) for body in bodies]
    assert [obeyed(message, "\n\t") for message in messages] == [[]] * len(messages)
