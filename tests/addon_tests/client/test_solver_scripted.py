# SPDX-License-Identifier: Apache-2.0
"""The client against a scripted process, with a clock that is set by hand."""

import pytest
from scripted_solver import Scripted, job, question

from blender_addon._vendor import solver_protocol as wire
from blender_addon.client.requests import LIVE_PATIENCE
from blender_addon.client.session import SILENT_SECONDS, START_SECONDS
from blender_addon.core.errors import Fix
from blender_addon.core.jobs import InspectCall, Job, JobResult, JobState, Step
from blender_addon.core.restarts import MAX_RESTARTS
from blender_addon.core.solver_state import Phase


@pytest.fixture
def scripted():
    return Scripted()


def taken(scripted):
    answer = scripted.client.live.take()
    return None if answer is None else answer.pose.transl[0]


def submit(scripted, number=-1.0):
    made = job(number)
    scripted.client.submit(made, scripted.config)
    scripted.client.pump()
    return made


def ask(scripted, number):
    scripted.client.ask(question(number), scripted.config)
    scripted.client.pump()


def crash(scripted):
    scripted.process.exit_code = -9
    scripted.client.pump()
    scripted.client.pump()


def test_what_a_starting_process_prints_is_not_thrown_away_before_it_was_read(scripted):
    scripted.client.start(scripted.config)
    process, line = scripted.process, scripted.process.handshake
    process.handshake = None
    process.drain = lambda: setattr(process, "handshake", None)
    process.poll_handshake = lambda: process.__dict__.update(handshake=line) if not process.handshake else line
    scripted.look(0.1)  # the line comes right after this look
    scripted.look(0.1)
    assert scripted.client.pid == process.pid
    assert scripted.transport is not None


def test_a_process_that_never_speaks_is_given_up(scripted):
    scripted.client.start(scripted.config)
    scripted.process.handshake = None
    scripted.look(START_SECONDS + 1)
    assert scripted.client.state.message == "the solver did not start within a minute; its log may say why"
    assert scripted.process.was_killed


def test_a_solver_that_says_where_it_listens_but_no_more_is_given_up(scripted):
    scripted.client.start(scripted.config)
    scripted.look(START_SECONDS + 1)
    assert scripted.sent(wire.Hello)
    assert scripted.client.state.phase is Phase.ERROR


def test_a_blender_that_was_busy_listens_before_it_gives_up(scripted):
    scripted.client.start(scripted.config)
    scripted.now += 10 * START_SECONDS
    scripted.welcome()
    scripted.look(0.5)
    scripted.now += 10 * SILENT_SECONDS  # it rendered; the answer lies there
    scripted.pong()
    scripted.client.pump()
    assert scripted.client.state.phase is Phase.RUNNING


def test_a_computer_that_slept_gives_the_solver_the_time_to_answer(scripted):
    scripted.run_up()
    scripted.look(0.5)
    submit(scripted)
    scripted.now += 3600.0  # with a ping that is out, both fast asleep
    scripted.client.pump()
    assert len(scripted.processes) == 1
    scripted.pong()
    scripted.client.pump()
    assert scripted.client.state.phase is Phase.BUSY


def test_a_frozen_solver_is_seen_within_two_seconds_and_forgiven_when_it_wakes(scripted):
    scripted.run_up()
    scripted.look(0.01)
    scripted.pong()
    scripted.client.pump()
    scripted.look(2.0, step=0.05)  # frozen right after it has answered
    assert scripted.client.state.phase is Phase.UNRESPONSIVE
    assert scripted.client.state.message == "the solver does not answer at the moment; wait, stop it or start it again"
    scripted.look(600.0)
    assert scripted.client.state.phase is Phase.UNRESPONSIVE, "nobody waits for it"
    assert len(scripted.sent(wire.Ping)) > 20, "a connection made anew in the meantime would stay unknown"
    scripted.pong()
    scripted.client.pump()
    assert scripted.client.state.phase is Phase.RUNNING
    assert scripted.client.state.message == ""
    assert len(scripted.processes) == 1


def test_a_frozen_solver_that_somebody_waits_for_is_replaced(scripted):
    scripted.run_up()
    made = submit(scripted)
    scripted.look(SILENT_SECONDS - 1)
    assert scripted.client.state.phase is Phase.UNRESPONSIVE
    assert len(scripted.processes) == 1
    scripted.look(3.0)
    assert scripted.processes[0].was_killed
    assert len(scripted.processes) == 2
    scripted.welcome()
    assert scripted.numbers() == [-1.0]
    scripted.answer()
    scripted.client.pump()
    assert made.state is JobState.DONE


def test_a_job_for_a_solver_that_is_long_frozen_gets_a_new_one_at_once(scripted):
    scripted.run_up()
    scripted.look(2 * SILENT_SECONDS)
    submit(scripted)
    scripted.client.pump()
    assert len(scripted.processes) == 2


def test_a_frozen_solver_can_be_restarted_by_hand_without_losing_the_job(scripted):
    scripted.run_up()
    submit(scripted)
    scripted.look(3.0)
    scripted.client.restart(scripted.config)
    assert scripted.processes[0].was_killed
    scripted.welcome()
    assert scripted.numbers() == [-1.0]


def test_a_mute_solver_is_noticed_although_jobs_are_sent(scripted):
    scripted.run_up()
    start = scripted.now
    while len(scripted.processes) == 1 and scripted.now < start + 2 * SILENT_SECONDS:
        submit(scripted)
        scripted.now += 1.0
    assert scripted.now - start <= SILENT_SECONDS + 3.0, "a job in between has put it off"  # steps of a second


def test_stale_and_foreign_replies_are_dropped(scripted):
    scripted.run_up()
    made = submit(scripted)
    (solve,) = scripted.sent(wire.Solve)
    scripted.transport.reply(wire.Error(solve.id + 1000, "bad_input", "for somebody else"))
    scripted.transport.reply(wire.Progress(solve.id + 1000, 0.9, "for somebody else"))
    scripted.client.pump()
    assert made.state is JobState.RUNNING
    scripted.transport.reply(wire.Error(solve.id, "bad_input", "for you"))
    scripted.client.pump()
    assert str(made.error) == "for you"
    assert scripted.client.job is None


@pytest.mark.parametrize("garbage", [b"\xc1", b"", b"\x81\xa4type\xa4what"])
def test_garbage_on_the_socket_fails_what_is_out_instead_of_leaving_it_waiting(scripted, garbage):
    scripted.run_up()
    made = submit(scripted)
    scripted.transport.incoming.append([garbage])
    scripted.client.pump()
    assert "the solver's answer cannot be read" in str(made.error)
    assert scripted.client.state.phase is Phase.RUNNING


def test_a_full_socket_is_tried_again(scripted):
    scripted.run_up()
    scripted.transport.is_full = True
    submit(scripted)
    assert not scripted.sent(wire.Solve)
    scripted.transport.is_full = False
    scripted.client.pump()
    assert len(scripted.sent(wire.Solve)) == 1


def test_a_worker_that_cannot_start_is_an_error_with_its_sentence(scripted):
    scripted.run_up()
    scripted.transport.reply(wire.Pong(0, False, False, 0, problem="the weights are damaged"))
    scripted.client.pump()
    assert scripted.client.state.phase is Phase.ERROR
    assert scripted.client.state.message == "the weights are damaged"
    scripted.look(60.0)
    assert len(scripted.processes) == 1, "another process has the same weights"


def test_another_version_needs_an_update_and_is_not_started_again(scripted):
    scripted.client.start(scripted.config)
    scripted.client.pump()
    hello = scripted.sent(wire.Hello)[-1]
    scripted.transport.reply(wire.Error(hello.id, "unsupported_version", "protocol 1.2 cannot talk to protocol 2.0"))
    scripted.look(60.0)
    assert scripted.client.state.phase is Phase.UPDATE_NEEDED
    assert scripted.client.state.fix is Fix.OPEN_PREFERENCES
    assert len(scripted.processes) == 1


def test_silence_is_counted_from_the_unanswered_ping(scripted):
    scripted.run_up()
    scripted.look(2.5)
    assert scripted.client.silence == pytest.approx(2.5, abs=0.5)  # the ping went out with one of the looks
    scripted.pong()
    scripted.client.pump()
    assert scripted.client.silence == 0.0


def test_statistics_are_those_of_the_process_that_runs(scripted):
    scripted.client.ask_statistics()  # nobody is there to ask
    scripted.run_up()
    assert scripted.client.statistics is None
    scripted.client.ask_statistics()
    (stats,) = scripted.sent(wire.Stats)
    scripted.transport.reply(wire.StatsReply(stats.id, 12.5, {"ok": 3}, "cpu", 4242, 0, queued=1))
    scripted.client.pump()
    assert scripted.client.statistics.counts == {"ok": 3}
    scripted.client.stop()
    assert scripted.client.statistics is None


def test_a_flood_of_messages_does_not_hold_the_window(scripted):
    scripted.run_up()
    for _ in range(1000):
        scripted.transport.reply(wire.Pong(1, True, False, 0))
    scripted.client.pump()
    assert len(scripted.transport.incoming) > 900


def test_a_process_that_does_not_leave_is_killed(scripted):
    scripted.run_up()
    scripted.client.stop()
    assert scripted.process.was_stopped
    assert not scripted.process.was_killed
    scripted.now += 4.0
    scripted.client.pump()
    assert scripted.process.was_killed
    scripted.client.pump()
    assert not scripted.client.needs_pump


def test_a_drag_starts_the_solver_and_gets_its_newest_answers(scripted):
    for number in range(5):
        ask(scripted, number)
    scripted.welcome()
    assert scripted.numbers() == [4.0], "what was asked before the solver was there is old"
    for number in (5, 6, 7):
        ask(scripted, number)
    scripted.answer()
    scripted.client.pump()
    assert taken(scripted) == 4.0
    assert scripted.numbers() == [4.0, 7.0]
    scripted.answer()
    scripted.client.pump()
    assert taken(scripted) == 7.0
    assert scripted.client.live.is_settled
    assert not scripted.client.state.is_busy


def test_a_drag_goes_on_with_the_process_that_takes_the_place_of_a_killed_one(scripted):
    scripted.run_up()
    ask(scripted, 1)
    crash(scripted)
    assert scripted.client.state.phase is Phase.STARTING
    assert scripted.client.state.message == "it ended by signal 9; nothing is lost, it is started again"
    assert not scripted.client.live.is_settled
    scripted.welcome()
    assert scripted.numbers() == [1.0]
    ask(scripted, 2)
    scripted.answer()
    scripted.client.pump()
    scripted.answer()
    scripted.client.pump()
    assert taken(scripted) == 2.0
    assert scripted.client.live.error is None


def test_a_question_of_which_the_worker_dies_is_not_asked_for_ever_and_the_drag_goes_on(scripted):
    scripted.run_up()
    ask(scripted, 1)
    for _ in range(10):
        if not scripted.client.live.is_settled:
            scripted.refuse("worker_crashed", "the worker ended")
            scripted.client.pump()
    assert scripted.numbers() == [1.0] * 3
    assert str(scripted.client.live.error) == "the worker ended"
    ask(scripted, 2)
    scripted.answer()
    scripted.client.pump()
    assert taken(scripted) == 2.0


def test_a_worker_that_hangs_in_a_drag_is_told_to_give_up(scripted):
    scripted.run_up()
    ask(scripted, 1)
    for _ in range(14):  # seven seconds
        scripted.look(0.5)
        scripted.pong()
    (cancel,) = scripted.sent(wire.Cancel)
    assert cancel.target == scripted.sent(wire.Solve)[0].id
    assert LIVE_PATIENCE < 7
    scripted.refuse("cancelled")
    scripted.client.pump()
    assert scripted.numbers() == [1.0, 1.0]


def test_job_and_drag_take_turns_and_never_have_two_solves_out(scripted):
    scripted.run_up()
    made = submit(scripted)
    ask(scripted, 1)
    assert scripted.numbers() == [-1.0]
    scripted.answer()
    scripted.client.pump()
    assert made.state is JobState.DONE
    assert scripted.numbers() == [-1.0, 1.0]
    made = submit(scripted, -2.0)
    ask(scripted, 2)
    assert scripted.numbers() == [-1.0, 1.0]
    scripted.answer()
    scripted.client.pump()
    assert scripted.numbers() == [-1.0, 1.0, -2.0], "the drag was just served"
    scripted.answer()
    scripted.client.pump()
    assert scripted.numbers() == [-1.0, 1.0, -2.0, 2.0]


def test_what_tells_of_a_pose_waits_until_the_drag_rests_however_often_it_is_given_up(scripted):
    def steps():
        yield Step(InspectCall(question(-1.0)), "Inspecting", 0.0, 1.0)
        return JobResult(())

    scripted.run_up()
    made = Job(steps())
    scripted.client.submit(made, scripted.config)
    scripted.client.pump()
    for number in range(1, 6):
        (*_, inspect) = scripted.sent(wire.Inspect)
        assert len(scripted.sent(wire.Inspect)) == number
        ask(scripted, number)
        scripted.transport.reply(wire.Error(inspect.id, "superseded", "a solve comes first"))
        scripted.client.pump()
        assert len(scripted.sent(wire.Inspect)) == number, "it is asked again while the body is dragged"
        scripted.answer()
        scripted.client.pump()
        assert taken(scripted) == number
    assert made.state is JobState.RUNNING


@pytest.mark.parametrize("code", ["hello_required", "overloaded"])
def test_a_solver_that_has_forgotten_us_is_greeted_and_asked_again(scripted, code):
    scripted.run_up()
    made = submit(scripted)
    for request_id in (11, 12, 13):  # several pings of the new connection are answered with it
        scripted.transport.reply(wire.Error(request_id, code, "say hello"))
    scripted.client.pump()
    assert len(scripted.sent(wire.Solve)) == 1, "nothing is asked before it knows us again"
    scripted.client.pump()
    assert len(scripted.sent(wire.Hello)) == 2
    scripted.welcome()
    assert scripted.numbers() == [-1.0, -1.0]
    first, second = scripted.sent(wire.Solve)
    assert first.id != second.id
    scripted.answer()
    scripted.client.pump()
    assert made.state is JobState.DONE


def test_a_frozen_solver_is_not_waited_for_when_it_is_stopped(scripted):
    scripted.run_up()
    scripted.look(3.0)
    scripted.client.stop()
    assert scripted.process.was_killed
    assert scripted.client.state.phase is Phase.STOPPED


def test_stopped_means_stopped(scripted):
    scripted.run_up()
    ask(scripted, 1)
    made = submit(scripted)
    scripted.client.stop()
    assert str(made.error) == "the solver was stopped"
    assert str(scripted.client.live.error) == "the solver was stopped"
    assert scripted.client.live.is_settled
    scripted.process.exit_code = 0
    scripted.look(600.0)
    assert scripted.client.state.phase is Phase.STOPPED
    assert len(scripted.processes) == 1


def test_stopping_between_a_crash_and_the_restart_leaves_it_down(scripted):
    scripted.run_up()
    crash(scripted)
    scripted.welcome()
    scripted.process.exit_code = -9
    scripted.client.pump()
    assert scripted.client.needs_pump, "the second restart waits a moment"
    scripted.client.stop()
    scripted.look(600.0)
    assert len(scripted.processes) == 2


def test_the_sixth_crash_in_three_minutes_is_the_last_and_says_why(scripted):
    scripted.run_up()
    for _ in range(MAX_RESTARTS):
        crash(scripted)
        scripted.look(3.0)
        scripted.welcome()
        assert scripted.client.state.phase is Phase.RUNNING
    ask(scripted, 1)
    crash(scripted)
    sentence = "it ended by signal 9; it was started again 5 times within 3 minutes and stays down now"
    assert (scripted.client.state.phase, scripted.client.state.message) == (Phase.ERROR, sentence)
    assert scripted.client.state.fix is Fix.START
    assert str(scripted.client.live.error) == sentence
    scripted.look(600.0)
    assert len(scripted.processes) == 1 + MAX_RESTARTS
    ask(scripted, 2)
    assert scripted.client.live.is_settled, "a drag waits for a solver that will not come"
    assert len(scripted.processes) == 1 + MAX_RESTARTS
    scripted.client.start(scripted.config)
    scripted.welcome()
    assert scripted.client.state.phase is Phase.RUNNING


def test_a_process_that_cannot_even_start_is_not_started_again(scripted):
    scripted.client.start(scripted.config)
    scripted.process.handshake = None
    scripted.process.exit_code = 5
    scripted.look(60.0)
    assert scripted.client.state.phase is Phase.ERROR
    assert len(scripted.processes) == 1


def test_asking_a_drag_behind_the_clients_back_is_answered_too(scripted):
    scripted.client.live.ask(question(1))
    scripted.client.pump()
    assert scripted.client.live.is_settled
    assert str(scripted.client.live.error) == "the solver does not run"


def test_settling_waits_for_the_answer_but_not_longer_than_told(scripted):
    scripted.run_up()
    ask(scripted, 1)
    waits = []

    def wait(seconds):
        scripted.now += seconds
        waits.append(seconds)
        if len(waits) == 3:
            scripted.answer()

    scripted.transport.wait = wait
    assert not scripted.client.settle(0.015)
    assert sum(waits) == pytest.approx(0.015)
    assert scripted.client.settle(1.0)
    assert len(waits) == 3
    assert taken(scripted) == 1.0
