"""The environment of a version: which requirements are taken."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streamb.registry import VersionEnvironment


class TestAccepted:
    @pytest.mark.parametrize("tool", ["pip", "uv"])
    def test_requirements_and_options_of_either_tool(self, tool):
        lines = ["xgboost==3.1.*", "--no-index", "--find-links /srv/wheels", "/srv/wheels/tiny-1.0-py3-none-any.whl"]
        assert VersionEnvironment.model_validate({tool: lines}).requirements == {tool: lines}

    def test_spaces_around_a_requirement_are_dropped(self):
        assert VersionEnvironment(pip=["  tiny==1.0 "]).requirements == {"pip": ["tiny==1.0"]}

    def test_a_requirement_may_begin_like_an_option(self):
        assert VersionEnvironment(pip=["requests", "--extra-index-url https://example.com/simple", "c"]).pip


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({}, 'give a list of requirements for either "pip" or "uv"'),
            ({"pip": []}, 'either "pip" or "uv"'),
            ({"pip": ["a"], "uv": ["b"]}, 'either "pip" or "uv"'),
            ({"conda": ["a"]}, "conda"),
            ({"pip": ["a"], "env_vars": {"A": "b"}}, "env_vars"),
            ({"pip": "requirements.txt"}, "list"),
            ({"pip": [1]}, "string"),
            ({"pip": [""]}, "one line of printable characters"),
            ({"pip": ["a\n--index-url https://evil.example"]}, "one line of printable characters"),
            ({"pip": ["a" * 501]}, "at most 500"),
            ({"pip": ["a"] * 101}, "at most 100"),
            ({"pip": ["-r /etc/passwd"]}, "-r names a file of one machine"),
            ({"pip": ["--requirement=more.txt"]}, "names a file of one machine"),
            ({"pip": ["-c limits.txt"]}, "-c names a file of one machine"),
            ({"pip": ["-e ."]}, "-e names a file of one machine"),
            ({"uv": ["--editable ."]}, "--editable names a file of one machine"),
        ],
    )
    def test_with_a_sentence(self, given, says):
        with pytest.raises(ValidationError) as caught:
            VersionEnvironment.model_validate(given)
        assert says in str(caught.value)
