# SPDX-License-Identifier: Apache-2.0
"""The client against the fake solver process over a real socket, and against a scripted one with a clock of its own."""

import time
from pathlib import Path

import pytest
from PIL import Image

from blender_addon._vendor import solver_protocol as wire
from blender_addon.client.process import Handshake, SolverConfig
from blender_addon.client.solver import SILENT_SECONDS, START_SECONDS, Solver
from blender_addon.core.errors import Fix, SolverError
from blender_addon.core.jobs import Job, JobState, pose_from_image, solve_keypoints
from blender_addon.core.record import Keypoints3D
from blender_addon.core.solver_state import Phase

KEYPOINTS = Keypoints3D(("nose", "left_wrist"), ((0.0, 1.6, 0.0), (0.5, 1.0, 0.0)), (0.02, 0.02))


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (300, 400)).save(tmp_path / "photo.jpg")
    return (tmp_path / "photo.jpg").read_bytes()


@pytest.fixture
def solver():
    client = Solver()
    yield client
    client.close()


def pump_until(client, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; {client.state}"
        client.pump()
        time.sleep(0.002)


def run(client, fake, job):
    client.submit(job, fake.config)
    pump_until(client, lambda: job.has_ended)
    return job


def test_a_job_starts_the_process_and_gets_its_records(solver, fake, picture):
    fake.behave(persons=2)
    job = run(solver, fake, Job(pose_from_image("photo.jpg", picture)))
    assert job.state is JobState.DONE
    assert len(job.result.records) == 2
    assert solver.state.phase is Phase.RUNNING
    assert not solver.state.is_busy
    record = job.result.records[0]
    assert record.camera.rotation is not None
    assert len(record.solution.points) == len(record.solution.pixels) == 33


def test_the_picture_travels_as_its_own_bytes(solver, fake, picture):
    job = run(solver, fake, Job(pose_from_image("photo.jpg", picture)))
    assert job.state is JobState.DONE  # the fake solver has opened it
    assert job.result.records[0].camera.width == 300


def test_progress_and_busy_state_are_seen(solver, fake, picture):
    fake.behave("slow", seconds=0.5)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    assert solver.state.is_busy
    pump_until(solver, lambda: job.text == "Thinking")
    pump_until(solver, lambda: job.fraction > 0.1)
    assert job.fraction < 0.6
    pump_until(solver, lambda: job.has_ended)


def test_a_cancelled_job_is_told_to_the_solver_and_its_late_answer_is_dropped(solver, fake, picture):
    fake.behave("slow", seconds=0.6)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    pump_until(solver, lambda: job.text == "Thinking")
    solver.cancel()
    assert job.state is JobState.CANCELLED
    assert solver.job is None
    assert not solver.state.is_busy
    pump_until(solver, lambda: bool(fake.requests("Cancel")))
    assert run(solver, fake, Job(solve_keypoints("p.json", KEYPOINTS))).state is JobState.DONE


def test_the_latest_job_wins(solver, fake, picture):
    fake.behave("slow", seconds=0.3)
    jobs = [Job(solve_keypoints("p.json", KEYPOINTS)) for _ in range(4)]
    for job in jobs:
        solver.submit(job, fake.config)
        for _ in range(20):
            solver.pump()
            time.sleep(0.002)
    pump_until(solver, lambda: jobs[-1].has_ended)
    assert [job.state for job in jobs] == [JobState.CANCELLED] * 3 + [JobState.DONE]


def test_a_refusal_fails_the_job_with_the_solvers_sentence_and_the_next_one_works(solver, fake):
    job = run(solver, fake, Job(pose_from_image("photo.jpg", b"\xff\xd8\xff no picture")))
    assert job.state is JobState.FAILED
    assert job.error.code == "bad_image"
    assert str(job.error) == "the picture cannot be read: it is cut off or damaged"
    assert solver.state.phase is Phase.RUNNING
    assert run(solver, fake, Job(solve_keypoints("p.json", KEYPOINTS))).state is JobState.DONE


def test_a_crash_fails_the_job_and_the_next_one_starts_a_new_process(solver, fake, picture):
    fake.behave("crash_on_detect")
    job = run(solver, fake, Job(pose_from_image("photo.jpg", picture)))
    assert "the solver ended unexpectedly with code 3" in str(job.error)
    assert solver.state.phase is Phase.ERROR
    assert solver.state.fix is Fix.START
    fake.behave()
    assert run(solver, fake, Job(pose_from_image("photo.jpg", picture))).state is JobState.DONE


def test_stopping_fails_the_job_and_frees_everything(solver, fake, picture):
    fake.behave("slow", seconds=30)
    job = Job(pose_from_image("photo.jpg", picture))
    solver.submit(job, fake.config)
    pump_until(solver, lambda: job.text == "Thinking")
    solver.stop()
    assert str(job.error) == "the solver was stopped"
    assert solver.state.phase is Phase.STOPPED
    pump_until(solver, lambda: not solver.needs_pump)


def test_a_python_that_is_not_there_is_an_error_with_a_way_out(solver, tmp_path):
    job = Job(solve_keypoints("p.json", KEYPOINTS))
    solver.submit(job, SolverConfig("/nowhere/python", "cpu", tmp_path / "solver.log"))
    assert job.state is JobState.FAILED
    assert solver.state.fix is Fix.OPEN_PREFERENCES
    assert not solver.needs_pump


def test_two_clients_have_each_their_own_process(solver, fake):
    other = Solver()
    try:
        jobs = [Job(solve_keypoints("p.json", KEYPOINTS)) for _ in range(2)]
        solver.submit(jobs[0], fake.config)
        other.submit(jobs[1], fake.config)
        pump_until(solver, lambda: jobs[0].has_ended)
        pump_until(other, lambda: jobs[1].has_ended)
        assert solver.pid != other.pid
        assert [job.state for job in jobs] == [JobState.DONE] * 2
    finally:
        other.close()


# ---- a scripted process and a clock that is set by hand --------------------------------------------------------------


class ScriptedProcess:
    """A process that says what it is told to say."""

    def __init__(self, _config):
        self.handshake = Handshake(1, "k" * 40, 7, (1, 0), "s")
        self.exit_code = None
        self.pid = 7
        self.was_killed = self.was_stopped = False

    def poll_handshake(self):
        return self.handshake

    def drain(self):
        pass

    def exit_error(self):
        return SolverError("it ended", Fix.OPEN_LOG)

    def stop(self):
        self.was_stopped = True

    def kill(self):
        self.was_killed = True
        self.exit_code = -9

    def release(self, _seconds):
        self.kill()


class ScriptedTransport:
    """A socket whose other end is the test."""

    def __init__(self):
        self.sent, self.incoming, self.is_closed, self.is_full = [], [], False, False

    def send(self, parts):
        if self.is_full:
            return False
        self.sent.append(wire.decode_request(parts)[0])
        return True

    def receive(self):
        return self.incoming.pop(0) if self.incoming else None

    def close(self):
        self.is_closed = True

    def reply(self, message):
        self.incoming.append(wire.encode(message))


class Scripted:
    """A solver client with everything around it in the test's hands."""

    def __init__(self):
        self.now = 0.0
        self.transport = ScriptedTransport()
        self.processes = []
        self.client = Solver(self._launch, lambda _handshake, _process: self.transport, lambda: self.now)
        self.config = SolverConfig("python", "cpu", Path("solver.log"))

    def _launch(self, config):
        self.processes.append(ScriptedProcess(config))
        return self.processes[-1]

    def sent(self, kind):
        return [message for message in self.transport.sent if isinstance(message, kind)]

    def run_up(self):
        self.client.start(self.config)
        self.client.pump()
        (hello,) = self.sent(wire.Hello)
        self.transport.reply(wire.HelloReply(hello.id, (1, 0), "s", "s", "auto"))
        self.client.pump()
        assert self.client.state.phase is Phase.RUNNING


@pytest.fixture
def scripted():
    return Scripted()


def test_a_process_that_never_speaks_is_given_up(scripted):
    scripted.client.start(scripted.config)
    scripted.processes[0].handshake = None
    scripted.client.pump()
    scripted.now = START_SECONDS + 1
    scripted.client.pump()
    assert scripted.client.state.message == "the solver did not start within a minute; its log may say why"
    assert scripted.processes[0].was_killed


def test_a_solver_that_stops_answering_is_given_up_but_not_after_blender_was_busy(scripted):
    scripted.run_up()
    scripted.client.pump()
    (ping,) = scripted.sent(wire.Ping)
    scripted.now += 10 * SILENT_SECONDS  # Blender rendered; the answer lies there
    scripted.transport.reply(wire.Pong(ping.id, True, False, 0, "cpu"))
    scripted.client.pump()
    assert scripted.client.state.phase is Phase.RUNNING
    assert scripted.client.state.device == "cpu"
    scripted.now += 2.0
    scripted.client.pump()
    scripted.now += SILENT_SECONDS + 1
    scripted.client.pump()
    assert scripted.client.state.message == "the solver does not answer any more; start it again"
    assert scripted.client.state.fix is Fix.START
    assert scripted.transport.is_closed


def test_a_mute_solver_is_noticed_although_jobs_are_sent(scripted):
    scripted.run_up()
    scripted.client.pump()
    assert len(scripted.sent(wire.Ping)) == 1
    start = scripted.now
    while scripted.client.state.phase is Phase.RUNNING and scripted.now < start + 2 * SILENT_SECONDS:
        scripted.client.submit(Job(solve_keypoints("p.json", KEYPOINTS)), scripted.config)
        scripted.client.pump()
        scripted.now += 1.0
    assert len(scripted.sent(wire.Solve)) > 10
    assert scripted.client.state.message == "the solver does not answer any more; start it again"
    assert scripted.now - start <= SILENT_SECONDS + 3.0, "a job in between has put it off"  # steps of a second


def test_stale_and_foreign_replies_are_dropped(scripted):
    scripted.run_up()
    job = Job(solve_keypoints("p.json", KEYPOINTS))
    scripted.client.submit(job, scripted.config)
    scripted.client.pump()
    (solve,) = scripted.sent(wire.Solve)
    scripted.transport.reply(wire.Error(solve.id + 1000, "bad_input", "for somebody else"))
    scripted.transport.reply(wire.Progress(solve.id + 1000, 0.9, "for somebody else"))
    scripted.client.pump()
    assert job.state is JobState.RUNNING
    scripted.transport.reply(wire.Error(solve.id, "bad_input", "for you"))
    scripted.client.pump()
    assert str(job.error) == "for you"


@pytest.mark.parametrize("garbage", [b"\xc1", b"", b"\x81\xa4type\xa4what"])
def test_garbage_on_the_socket_fails_the_job_instead_of_leaving_it_waiting(scripted, garbage):
    scripted.run_up()
    job = Job(solve_keypoints("p.json", KEYPOINTS))
    scripted.client.submit(job, scripted.config)
    scripted.client.pump()
    scripted.transport.incoming.append([garbage])
    scripted.client.pump()
    assert "the solver's answer cannot be read" in str(job.error)
    assert scripted.client.state.phase is Phase.RUNNING


def test_a_full_socket_is_tried_again(scripted):
    scripted.run_up()
    scripted.transport.is_full = True
    job = Job(solve_keypoints("p.json", KEYPOINTS))
    scripted.client.submit(job, scripted.config)
    scripted.client.pump()
    assert not scripted.sent(wire.Solve)
    scripted.transport.is_full = False
    scripted.client.pump()
    assert len(scripted.sent(wire.Solve)) == 1


def test_a_worker_that_cannot_start_is_an_error_with_its_sentence(scripted):
    scripted.run_up()
    scripted.client.pump()
    (ping,) = scripted.sent(wire.Ping)
    scripted.transport.reply(wire.Pong(ping.id, False, False, 0, problem="the weights are damaged"))
    scripted.client.pump()
    assert scripted.client.state.phase is Phase.ERROR
    assert scripted.client.state.message == "the weights are damaged"


def test_silence_is_counted_from_the_unanswered_ping(scripted):
    scripted.run_up()
    scripted.client.pump()
    (ping,) = scripted.sent(wire.Ping)
    scripted.now += 2.5
    assert scripted.client.silence == 2.5
    scripted.transport.reply(wire.Pong(ping.id, True, False, 0, "cpu"))
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
    process = scripted.processes[0]
    assert process.was_stopped
    assert not process.was_killed
    scripted.now += 4.0
    scripted.client.pump()
    assert process.was_killed
    scripted.client.pump()
    assert not scripted.client.needs_pump
