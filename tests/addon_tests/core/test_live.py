# SPDX-License-Identifier: Apache-2.0
import pytest

from blender_addon.core.errors import SolverError
from blender_addon.core.jobs import SolveCall
from blender_addon.core.live import MAX_RESENDS, LiveSolve
from blender_addon.core.record import Keypoints3D, Pose, Solution

LOST = SolverError("the solver is gone")


def question(number):
    return SolveCall((Keypoints3D(("nose",), ((float(number), 0.0, 0.0),), (0.01,)),))


def solution(number, status="converged"):
    pose = Pose((float(number), 0.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.0,) * 10)
    return Solution(pose, None, {}, {}, status, 1, -1.0, 0.001)


class Desk:
    """A live solve with its clock."""

    def __init__(self):
        self.now = 0.0
        self.live = LiveSolve(lambda: self.now)

    def send(self):
        """Send what is next; return its number, None for nothing."""
        call = self.live.next_call()
        if call is None:
            return None
        self.live.sent()
        return call.evidence[0].points[0][0]

    def taken(self):
        answer = self.live.take()
        return None if answer is None else answer.pose.transl[0]


@pytest.fixture
def desk():
    return Desk()


def test_nothing_asked_is_settled_and_gives_nothing(desk):
    assert desk.live.is_settled
    assert desk.send() is None
    assert desk.taken() is None
    assert (desk.live.rate_hz, desk.live.latency_ms, desk.live.latency_p95_ms) == (0.0, 0.0, 0.0)


def test_newest_question_waits_while_one_is_out_and_those_between_are_dropped(desk):
    desk.live.ask(question(1))
    assert desk.send() == 1
    for number in (2, 3, 4):
        desk.live.ask(question(number))
        assert desk.send() is None
    desk.live.answer(solution(1))
    assert desk.send() == 4


def test_answer_is_shown_although_a_newer_question_is_under_way(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.ask(question(2))
    desk.live.answer(solution(1))
    assert desk.taken() == 1
    assert not desk.live.is_settled
    desk.send()
    desk.live.answer(solution(2))
    assert desk.live.is_settled
    assert desk.taken() == 2
    assert desk.taken() is None


def test_only_the_newest_of_several_answers_is_taken(desk):
    for number in (1, 2):
        desk.live.ask(question(number))
        desk.send()
        desk.live.answer(solution(number))
    assert desk.taken() == 2
    assert desk.taken() is None


def test_refusal_is_kept_until_a_newer_answer_and_the_drag_goes_on(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.refuse(SolverError("too far"))
    assert desk.live.is_settled
    assert str(desk.live.error) == "too far"
    desk.live.ask(question(2))
    assert str(desk.live.error) == "too far"
    assert desk.send() == 2
    desk.live.answer(solution(2))
    assert desk.live.error is None


def test_pose_that_does_not_fit_is_a_refusal(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.answer(solution(1, status="failed"))
    assert desk.taken() is None
    assert str(desk.live.error) == "no pose fits what is asked; drag it nearer to the body"


def test_lost_question_is_asked_again_but_not_for_ever(desk):
    desk.live.ask(question(1))
    for _ in range(MAX_RESENDS):
        assert desk.send() == 1
        desk.live.lose(LOST)
        assert not desk.live.is_settled
    assert desk.send() == 1
    desk.live.lose(LOST)
    assert desk.live.is_settled
    assert desk.live.error is LOST


def test_lost_question_makes_way_for_a_newer_one(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.ask(question(2))
    desk.live.lose(LOST)
    assert desk.live.error is None
    assert desk.send() == 2


def test_late_answer_from_before_the_reset_is_dropped_and_holds_the_line_until_it_comes(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.reset()
    assert desk.live.is_settled
    desk.live.ask(question(2))
    assert desk.send() is None, "two questions are out"
    desk.live.answer(solution(1))
    assert desk.taken() is None
    assert not desk.live.is_settled
    assert desk.send() == 2
    desk.live.answer(solution(2))
    assert desk.taken() == 2


def test_question_from_before_the_reset_is_not_asked_again(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.reset()
    desk.live.lose(LOST)
    assert desk.send() is None
    assert desk.live.error is None


def test_without_a_solver_everything_is_settled_and_says_why(desk):
    desk.live.ask(question(1))
    desk.send()
    desk.live.ask(question(2))
    desk.live.abort(LOST)
    assert desk.live.is_settled
    assert desk.live.error is LOST
    assert desk.send() is None


def test_rate_counts_the_last_second_and_latency_is_from_ask_to_answer(desk):
    for number in range(100):  # two seconds at 50 Hz, every answer after 10 ms, every tenth after 18 ms
        desk.live.ask(question(number))
        desk.send()
        latency = 0.018 if number % 10 == 9 else 0.010
        desk.now += latency
        desk.live.answer(solution(number))
        desk.now += 0.02 - latency
    assert desk.live.rate_hz == pytest.approx(50.0, abs=1.0)  # an answer may lie on the edge of the second
    assert desk.live.latency_ms == pytest.approx(10.0)
    assert desk.live.latency_p95_ms == pytest.approx(18.0)
    desk.now += 1.1
    assert desk.live.rate_hz == 0.0
    desk.live.reset()
    assert desk.live.latency_ms == 0.0
