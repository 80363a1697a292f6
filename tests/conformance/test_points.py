"""docs/api.md lists the points of the protocol that the tests show, no others, and in their order."""

from tests.documented import API, protocol_points, with_protocol_points


def test_the_document_lists_what_the_tests_show():
    text = API.read_text()
    assert text == with_protocol_points(text), "run `make map`"
    assert text.count("### Open Inference Protocol") == 1


def test_every_test_of_the_protocol_shows_a_point_of_its_own():
    points = [point for _, point in protocol_points()]
    assert all(points)
    assert len(set(points)) == len(points) > 40
