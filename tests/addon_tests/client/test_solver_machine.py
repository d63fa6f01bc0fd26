# SPDX-License-Identifier: Apache-2.0
"""The client's life as a state machine: whatever processes, sockets and the user do, in whatever order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scripted_solver import Scripted, ScriptedProcess, job, number_of, question, solution

from blender_addon._vendor import solver_protocol as wire
from blender_addon.core.errors import Fix, SolverError
from blender_addon.core.jobs import DetectCall, InspectCall, Job, JobResult, Step
from blender_addon.core.restarts import MAX_RESTARTS, WINDOW_SECONDS
from blender_addon.core.solver_state import Phase, big_button, status_line

DOWN = (Phase.NOT_INSTALLED, Phase.INSTALLING, Phase.STOPPED, Phase.ERROR, Phase.UPDATE_NEEDED)
CONNECTED = (Phase.RUNNING, Phase.BUSY, Phase.UNRESPONSIVE)


def steps(call):
    """Ask one thing that is no solve."""
    yield Step(call, "Looking", 0.0, 1.0)
    return JobResult(())


def make_job(kind, number):
    """Make a job of one call."""
    match kind:
        case "solve":
            return job(number)
        case "detect":
            return Job(steps(DetectCall(b"picture")))
        case _:
            return Job(steps(InspectCall(question(number))))


class Server:
    """What stands behind one socket: it answers when it is served, unless it is frozen or knows nobody."""

    def __init__(self, transport, speaks=(1, 2)):
        self.transport, self.speaks = transport, speaks
        self.knows_client = self.is_frozen = False
        self.read = 0
        self.held = []
        self.answered = []

    def read_all(self):
        """Take what was sent; hold the work, answer the rest at once."""
        while self.read < len(self.transport.sent):
            request = self.transport.sent[self.read]
            self.read += 1
            self._take(request)

    def _take(self, request):
        reply = self.transport.reply
        if isinstance(request, wire.Hello):
            if self.speaks[0] != request.protocol[0]:
                reply(wire.Error(request.id, "unsupported_version", "another version"))
                return
            self.knows_client = True
            reply(wire.HelloReply(request.id, self.speaks, "s", "s", "auto"))
        elif not self.knows_client:
            reply(wire.Error(request.id, "hello_required", "say hello"))
        elif isinstance(request, wire.Ping):
            reply(wire.Pong(request.id, True, bool(self.held), 0, "cpu"))
        elif isinstance(request, wire.Cancel):
            for held in [held for held in self.held if held.id == request.target]:
                self.held.remove(held)
                reply(wire.Error(held.id, "cancelled", "given up"))
            reply(wire.CancelReply(request.id, True))
        else:
            solves = [held for held in self.held if isinstance(held, wire.Solve)]
            if isinstance(request, wire.Solve) and len(solves) > 1:  # one runs, one waits
                self.held.remove(solves[1])
                reply(wire.Error(solves[1].id, "superseded", "a newer one"))
            for held in [
                held for held in self.held if isinstance(held, wire.Inspect) and isinstance(request, wire.Solve)
            ]:
                self.held.remove(held)
                reply(wire.Error(held.id, "superseded", "a solve comes first"))
            self.held.append(request)

    def work(self, code=""):
        """Answer the oldest request, with an error if a code is given."""
        if not self.held:
            return
        request = self.held.pop(0)
        if code:
            self.transport.reply(wire.Error(request.id, code, f"refused: {code}"))
        elif isinstance(request, wire.Solve):
            number = number_of(request, self.transport.frames[request.id])
            self.answered.append(solution(request.id, number))
            self.transport.reply(self.answered[-1])
        elif isinstance(request, wire.Inspect):
            self.transport.reply(wire.Error(request.id, "bad_input", "nothing to inspect"))
        else:
            camera = wire.CameraSpec(10, 10, 10.0, 10.0, 5.0, 5.0)
            self.transport.reply(wire.DetectReply(request.id, camera, (), 0.1))


class SolverMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = Scripted()
        self.servers = []
        self.jobs = []
        self.asked = 0.0
        self.taken = 0.0
        self.since_reset = 0.0
        self.is_by_user = False
        self.automatic = []
        self.was_stopped = True
        self.speaks, self.can_launch, self.says_where = (1, 2), True, True
        launch, connect = self.world._launch, self.world._connect

        def counted(config):
            assert self.is_by_user or not self.was_stopped, "started although the user had stopped it"
            assert all(process.was_stopped or process.was_killed for process in self.world.processes), "two processes"
            if not self.is_by_user:
                self.automatic.append(self.world.now)
            if not self.can_launch:
                raise SolverError("no such Python", Fix.OPEN_PREFERENCES)
            process = launch(config)
            if not self.says_where:
                process.handshake = None
            return process

        def served(handshake, process):
            transport = connect(handshake, process)
            self.servers.append(Server(transport, self.speaks))
            return transport

        self.client = self.world.client
        self.client._launch, self.client._connect = counted, served

    @property
    def process(self) -> ScriptedProcess | None:
        """The process that is not parted from."""
        processes = [one for one in self.world.processes if not (one.was_stopped or one.was_killed)]
        return processes[-1] if processes else None

    @property
    def server(self) -> Server | None:
        """What answers now."""
        server = self.servers[-1] if self.servers else None
        return None if server is None or server.transport.is_closed or server.is_frozen else server

    def by_user(self, command, *arguments):
        self.is_by_user = True
        command(*arguments)
        self.is_by_user = False
        if self.client.state.phase not in DOWN:
            self.was_stopped = False

    @initialize(is_up=st.sampled_from([True, True, False]))
    def run_up(self, is_up):
        if is_up:
            self.start()
            self.go_well(4)

    @rule()
    def start(self):
        self.by_user(self.client.start, self.world.config)

    @rule()
    def restart(self):
        self.by_user(self.client.restart, self.world.config)

    @rule(is_crashed=st.booleans())
    def stop(self, is_crashed):
        if is_crashed:
            self.crash(-9, is_seen=True)
        self.client.stop()
        self.was_stopped = True

    @rule(fraction=st.floats(0.0, 1.0))
    def install(self, fraction):
        """An installation begins, or tells how far it is."""
        self.client.show_installation("fetching torch", fraction)
        self.was_stopped = True

    @precondition(lambda self: self.client.state.phase is Phase.INSTALLING)
    @rule(end=st.sampled_from(["done", "failed", "cancelled"]))
    def end_installation(self, end):
        problem = {"failed": SolverError("no network", Fix.INSTALL), "cancelled": SolverError("not installed")}.get(end)
        self.client.end_installation(problem, is_incomplete=end != "done")
        assert self.client.state.phase is (Phase.STOPPED if end == "done" else Phase.NOT_INSTALLED)
        assert self.client.state.is_incomplete == (end != "done")

    @rule(kind=st.sampled_from(["solve", "detect", "inspect"]), is_sent=st.booleans())
    def submit(self, kind, is_sent):
        self.jobs.append(make_job(kind, -1.0 - len(self.jobs)))
        self.by_user(self.client.submit, self.jobs[-1], self.world.config)
        self.look(0.1 * is_sent)

    @rule()
    def cancel(self):
        self.client.cancel()

    @rule(is_sent=st.booleans())
    def ask(self, is_sent):
        self.asked += 1.0
        self.by_user(self.client.ask, question(self.asked), self.world.config)
        self.look(0.1 * is_sent)

    @rule(is_out=st.booleans())
    def reset_drag(self, is_out):
        if is_out:
            self.ask(is_sent=True)
        self.client.live.reset()
        self.since_reset = self.asked

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 20.0, 3600.0]))
    def look(self, seconds):
        if seconds > 100.0:  # the computer sleeps
            self.world.now += seconds
            seconds = 0.0
        self.world.look(seconds)

    @precondition(lambda self: self.server)
    @rule(count=st.integers(0, 3))
    def serve(self, count):
        self.server.read_all()
        for _ in range(count):
            self.server.work()
        self.client.pump()

    @rule(rounds=st.integers(1, 4))
    def go_well(self, rounds):
        for _ in range(rounds):
            self.look_and_serve(0.02)
        self.client.pump()

    def look_and_serve(self, seconds):
        self.world.look(seconds)
        if self.server is not None:
            self.server.read_all()
            self.server.work()

    @precondition(lambda self: self.server)
    @rule(code=st.sampled_from(["superseded", "worker_crashed", "bad_input", "timeout", "busy", "cancelled"]))
    def refuse(self, code):
        self.server.read_all()
        self.server.work(code)

    @precondition(lambda self: self.server)
    @rule()
    def reconnect(self):
        self.server.knows_client = False
        self.server.held.clear()

    @precondition(lambda self: self.server)
    @rule()
    def overload(self):
        self.reconnect()
        self.server.transport.reply(wire.Error(None, "overloaded", "too much"))

    @precondition(lambda self: self.server and self.server.answered)
    @rule()
    def say_it_twice(self):
        self.server.transport.reply(self.server.answered[-1])

    @precondition(lambda self: self.server)
    @rule()
    def talk_nonsense(self):
        self.server.transport.reply([b"\xc1"])

    @precondition(lambda self: self.server)
    @rule(is_full=st.booleans())
    def fill(self, is_full):
        self.server.transport.is_full = is_full

    @precondition(lambda self: self.servers)
    @rule()
    def freeze(self):
        self.servers[-1].is_frozen = True

    @precondition(lambda self: self.servers)
    @rule()
    def wake(self):
        self.servers[-1].is_frozen = False

    @rule(code=st.sampled_from([-9, 3]), is_seen=st.booleans())
    def crash(self, code, is_seen):
        if self.process is not None and self.process.exit_code is None:
            self.process.exit_code = code
        if is_seen:
            self.client.pump()

    @precondition(lambda self: self.process is not None)
    @rule(count=st.integers(2, 7), pause=st.sampled_from([0.0, 3.0, 20.0, 35.0]), is_asked=st.booleans())
    def crash_often(self, count, pause, is_asked):
        for _ in range(count):
            if is_asked:
                self.asked += 1.0
                self.client.live.ask(question(self.asked))
            if self.process is not None:
                self.process.exit_code = -9
            self.look_and_serve(pause)
            self.look_and_serve(3.0)

    @rule(what=st.sampled_from(["nothing", "nothing", "version", "old", "python", "start"]))
    def spoil_the_next_start(self, what):
        self.speaks = {"version": (2, 0), "old": (1, 0)}.get(what, (1, 2))
        self.can_launch, self.says_where = what != "python", what != "start"

    @invariant()
    def answers_are_taken_in_order(self):
        answer = self.client.live.take()
        if answer is not None:
            number = answer.pose.transl[0]
            assert number > self.taken, "an answer older than one before"
            assert number > self.since_reset, "an answer to a drag that is over"
            self.taken = number

    @invariant()
    def not_more_than_five_restarts_in_three_minutes(self):
        for first, sixth in zip(self.automatic, self.automatic[MAX_RESTARTS:], strict=False):
            assert sixth - first >= WINDOW_SECONDS

    @invariant()
    def state_and_process_belong_together(self):
        state = self.client.state
        if state.phase in DOWN:
            assert self.process is None
            assert self.client.pid is None
        elif state.phase in CONNECTED:
            assert self.process is not None
            assert self.client.pid == self.process.pid
        assert (state.phase is Phase.STARTING and self.process is None) == (self.client._restart_at is not None)
        if state.phase is Phase.INSTALLING:
            assert state.work
            assert not state.message
            assert self.client.job is None, "a command waits for what cannot come"
        assert (state.phase is Phase.BUSY) <= state.is_busy
        assert state.is_busy == (self.client.job is not None)
        assert (state.phase is Phase.RUNNING) <= (self.client.job is None)
        if state.phase in (Phase.ERROR, Phase.UPDATE_NEEDED, Phase.UNRESPONSIVE):
            assert state.message
        assert big_button(state).operator.startswith("ikol.")
        assert status_line(state)

    @invariant()
    def every_job_but_the_newest_has_ended(self):
        for one in self.jobs:
            assert one.has_ended == (one is not self.client.job)

    @invariant()
    def at_most_one_solve_is_out(self):
        owners = self.client._requests._pending._owners
        out = [self.servers[-1].transport.frames[number] for number in owners] if owners else []
        assert len(out) <= 2
        sent = {request.id: request for request in self.servers[-1].transport.sent} if owners else {}
        assert sum(isinstance(sent[number], wire.Solve) for number in owners) <= 1
        assert (self.client.live in owners.values()) == self.client.live.is_out

    def teardown(self):
        """Let everything go well from here: then everything is answered."""
        self.speaks, self.can_launch, self.says_where = (1, 2), True, True
        if self.client.state.phase is Phase.INSTALLING:
            self.end_installation("done")
        if not self.was_stopped:
            self.asked += 1.0
            self.by_user(self.client.ask, question(self.asked), self.world.config)
        for server in self.servers:
            server.is_frozen = server.transport.is_full = False
        for process in self.world.processes:
            process.handshake = ScriptedProcess(process.pid).handshake
        for _ in range(400):
            self.look_and_serve(0.25)
        assert all(one.has_ended for one in self.jobs)
        assert self.client.live.is_settled
        answer = self.client.live.take()
        if not self.was_stopped and self.client.live.error is None:
            assert answer is not None
            assert answer.pose.transl[0] == self.asked, "the last question has no answer"


SolverMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
test_life_of_a_solver = SolverMachine.TestCase
