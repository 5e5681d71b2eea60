"""Documents: what may be shown, and the change from one to the next."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.merge_patch import applied

from dashboard.document import merge_patch, published

VALUES: Any = st.recursive(
    st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@example({"a": [{"b": False}]}, {"a": [{"b": 0}]})
@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_leads_from_one_document_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert repr(sorted_deeply(applied(before, merge_patch(before, after)))) == repr(sorted_deeply(after))


def sorted_deeply(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_deeply(value[key]) for key in sorted(value)}
    return [sorted_deeply(entry) for entry in value] if isinstance(value, list) else value


@given(DOCUMENTS)
def test_the_patch_to_the_same_document_is_empty(document: dict[str, Any]) -> None:
    assert merge_patch(document, document) == {}


def test_a_patch_holds_only_what_changed() -> None:
    before = {"units": {"A": {"price": 1.0, "name": "A"}, "B": {"price": 2.0}}}
    after = {"units": {"A": {"price": 1.5, "name": "A"}}}
    assert merge_patch(before, after) == {"units": {"A": {"price": 1.5}, "B": None}}


def test_accounts_are_masked_everywhere_and_what_is_not_known_is_left_out() -> None:
    shown = published(
        {"U7654321": {"text": "sold in DU1234567", "stop": None}, "list": ["DU1234567", 7, ("F1234567",)]}
    )
    assert shown == {"U7****21": {"text": "sold in DU*****67"}, "list": ["DU*****67", 7, ["F1****67"]]}


def test_the_address_of_a_webhook_is_left_out() -> None:
    assert "t0ken" not in published({"detail": "https://discord.com/api/webhooks/1/t0ken refused"})["detail"]


def test_a_number_that_json_does_not_have_is_not_known() -> None:
    assert published({"price": float("nan"), "bars": {"now": float("inf"), "low": 1.5}}) == {"bars": {"low": 1.5}}
