"""The demo's account: it balances exactly when every message that was sent was processed, and nothing else was."""

import json
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from broker.cli.demo.account import Ledger
from broker.cli.demo.orders import feeds_for, make_order, order_number


def ledger_of(sent: int) -> Ledger:
    ledger = Ledger("orders")
    for number in range(sent):
        ledger.record_sent(number)
    return ledger


def test_all_processed_once_balances() -> None:
    ledger = ledger_of(3)
    for number in range(3):
        ledger.record_processed(number)
    account = ledger.close(left_in_queue=0)
    assert account.balances
    assert (account.sent, account.processed_once, account.lost, account.attempts_max) == (3, 3, 0, 1)


def test_a_message_that_nobody_processed_is_lost() -> None:
    ledger = ledger_of(2)
    ledger.record_processed(0)
    ledger.record_retried(1)
    assert ledger.outstanding == 1
    account = ledger.close(left_in_queue=0)
    assert not account.balances
    assert (account.lost, account.retries) == (1, 1)


def test_a_second_processing_needs_a_crash_as_its_cause() -> None:
    ledger = ledger_of(2)
    for number in (0, 0, 1, 1):
        ledger.record_processed(number)
    ledger.record_returned(1)
    account = ledger.close(left_in_queue=0)
    assert not account.balances
    assert (account.processed_again_unexplained, account.processed_again_after_crash) == (1, 1)


def test_one_crash_explains_one_more_processing_not_two() -> None:
    ledger = ledger_of(1)
    ledger.record_returned(0)
    for _ in range(3):
        ledger.record_processed(0)
    assert ledger.close(left_in_queue=0).processed_again_unexplained == 1


def test_retries_and_crashes_are_attempts() -> None:
    ledger = ledger_of(1)
    ledger.record_retried(0)
    ledger.record_retried(0)
    ledger.record_returned(0)
    ledger.record_processed(0)
    account = ledger.close(left_in_queue=0)
    assert account.balances
    assert (account.retries, account.returned, account.attempts_max, account.processed_once) == (2, 1, 4, 1)


def test_what_is_left_in_the_queue_or_was_never_sent_does_not_balance() -> None:
    ledger = ledger_of(1)
    ledger.record_processed(0)
    assert not ledger.close(left_in_queue=1).balances
    ledger.record_processed(99)
    account = ledger.close(left_in_queue=0)
    assert account.unknown == 1
    assert not account.balances


@given(
    st.integers(0, 30),
    st.lists(st.tuples(st.sampled_from(["processed", "retried", "returned"]), st.integers(0, 40)), max_size=120),
    st.integers(0, 2),
)
def test_the_account_says_what_counting_by_hand_says(sent: int, events: list[tuple[str, int]], left: int) -> None:
    ledger = ledger_of(sent)
    for event, number in events:
        {"processed": ledger.record_processed, "retried": ledger.record_retried, "returned": ledger.record_returned}[
            event
        ](number)
    by_hand = {kind: Counter(number for event, number in events if event == kind) for kind in ("processed", "returned")}
    account = ledger.close(left)
    lost = [n for n in range(sent) if by_hand["processed"][n] == 0]
    stray = [n for n in by_hand["processed"] if n >= sent]
    again = [n for n, times in by_hand["processed"].items() if times > 1 + by_hand["returned"][n]]
    assert (account.lost, account.unknown, account.processed_again_unexplained) == (len(lost), len(stray), len(again))
    assert account.balances == (not lost and not stray and not again and not left)


def test_an_order_carries_its_number() -> None:
    [web, *_] = feeds_for(20)
    body = make_order(17, web, Random(1))
    assert order_number(body) == 17
    assert json.loads(body)["from"] == "web shop"
