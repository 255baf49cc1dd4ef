"""The worker's hot loop: start claimed jobs while slots are free, settle what ended, let the exchange go on.

`async def` handlers run in a task each, on Python 3.12 and later eagerly: one that never waits costs no turn
of the loop. `def` handlers run in threads that take jobs by themselves, so that a batch of short ones costs
one wake-up. Policy for whatever is not a plain completion lives in Python and is asked through one object.
"""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Coroutine
from queue import SimpleQueue
from types import CoroutineType

cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

from bullrush._core.exchange cimport Exchange
from bullrush._core.histogram cimport Histogram
from bullrush._core.job cimport JobBase
from bullrush._core.producer cimport monotonic_ns

cdef extern from "Python.h":
    PySendResult PyIter_Send(object iter, object arg, PyObject** result) except PYGEN_ERROR
    ctypedef PySendResult (*sendfunc)(PyObject* iter, PyObject* arg, PyObject** result) except PYGEN_ERROR

cdef extern from *:
    """
    /* Cython has no name for this slot. With it a task learns of the end of its coroutine by a value, without
       by a StopIteration made and caught for each job: client time per job fell from 2.2 to 1.9 us. */
    static void set_send_slot(PyTypeObject *type, sendfunc send) {
        type->tp_as_async->am_send = send;
        PyType_Modified(type);
    }
    """
    void set_send_slot(PyTypeObject* type, sendfunc send)

cdef enum:
    EAGER_BUDGET = 256          # starts in one turn of the loop, so that everything else on it gets its turn
    SHORT_RUN_US = 50           # below that, one thread at a time is faster than many that fight for the lock


cdef class Route:
    """Where jobs of a name go."""

    def __init__(self, handler, bint threaded, bint blocking=False):
        self.handler = handler
        self.threaded = threaded
        self.blocking = threaded or blocking      # its jobs are of the blocking class


@cython.final
@cython.no_gc
cdef class Run:
    """One run of a coroutine handler: itself the coroutine of its task, it settles where the handler ends."""

    def __iter__(self):
        return self

    def __await__(self):
        return self

    def __next__(self):
        return self._send(None)

    def send(self, value):
        """Go on with a value."""
        return self._send(value)

    cdef object _send(self, value):
        cdef PyObject* result = NULL
        cdef PySendResult status = self._advance(value, &result)
        outcome = <object>result
        Py_XDECREF(result)
        if status == PYGEN_NEXT:
            return outcome
        raise StopIteration

    cdef PySendResult _advance(self, value, PyObject** result) except PYGEN_ERROR:
        """Go on to the next wait, and give what is waited for, or to the end, which settles the job."""
        cdef PyObject* outcome = NULL
        try:
            if self.coro is None:
                self._begin()
            if PyIter_Send(self.coro, value, &outcome) == PYGEN_NEXT:
                result[0] = outcome
                return PYGEN_NEXT
        except BaseException as error:
            self._failed(error)
        else:
            returned = <object>outcome
            Py_XDECREF(outcome)
            self.dispatcher._completed(self, returned)
        result[0] = <PyObject*>None
        Py_INCREF(None)
        return PYGEN_RETURN

    cdef _begin(self):
        coro = self.handler(self.job)
        if type(coro) is not CoroutineType and not asyncio.iscoroutine(coro):
            if not hasattr(coro, "__await__"):
                raise TypeError(f"the handler returned {coro!r}, which cannot be awaited")
            coro = coro.__await__()
        self.coro = coro

    def throw(self, kind, value=None, traceback=None):
        """Raise an error (a cancellation) inside the handler."""
        error = kind if value is None else value
        try:
            if self.coro is None:
                raise error
            return self.coro.throw(error)
        except StopIteration as stop:
            self.dispatcher._completed(self, stop.value)
            raise StopIteration from None
        except BaseException as failure:
            self._failed(failure)
            raise StopIteration from None

    def cancel(self, reason):
        """Cancel the task of this run; the reason decides what becomes of the job."""
        self.cancel_reason = reason
        if self.task is not None:
            self.task.cancel()

    def close(self):
        """Close the handler without settling: the loop is going away."""
        if self.coro is not None and hasattr(self.coro, "close"):
            self.coro.close()

    cdef _failed(self, error):
        self.dispatcher._failed(self, error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error


cdef PySendResult _send_to_run(PyObject* run, PyObject* value, PyObject** result) except PYGEN_ERROR:
    return (<Run>run)._advance(<object>value, result)


set_send_slot(<PyTypeObject*>Run, _send_to_run)
Coroutine.register(Run)


cdef class Dispatcher:
    """Start jobs, collect their ends. One per worker, on its loop."""

    def __init__(self, Exchange exchange, policy, Route route, dict routes, loop, *, context=None):
        self.exchange = exchange
        self.loop = loop
        self.context = context
        self._policy = policy
        self._route = route
        self._routes = routes
        self._eager = sys.version_info >= (3, 12)
        self._task_type = asyncio.Task
        self.waits = Histogram()
        self.runs = Histogram()
        self._done = deque()
        self._tokens = SimpleQueue()
        self.threads = []
        self._all_threaded = route is not None and route.threaded
        self._thread_jobs = deque()

    @property
    def keeps_claims(self):
        """A slow job hoards nothing: what cannot start soon goes back."""
        return False

    # Starting.

    def after_replies(self):
        """Go on after a batch of replies; the caller pumps the exchange afterwards."""
        if self.exchange.broken:
            broken, self.exchange.broken = self.exchange.broken, []
            for job, error in broken:
                self._policy.broken(job, error)
        if self.exchange.lease_lost or self.exchange.refused or self.exchange.expired or self.exchange.unseen:
            self._policy.notice()
        self._policy.replied()
        self.start_ready()

    def start_ready(self):
        """Start claimed jobs while slots are free."""
        cdef Exchange exchange = self.exchange
        cdef int budget = EAGER_BUDGET if self._eager else 1 << 30
        if self._starting or not exchange.ready:
            return
        if self._all_threaded:
            self._wake_threads(len(exchange.ready))
            return
        if not exchange.may_start(monotonic_ns() * 1e-9):
            return
        self._starting = True
        try:
            while exchange.running < exchange.concurrency and exchange.ready:
                if budget == 0:
                    self.loop.call_soon(self._continue)
                    break
                budget -= 1
                self._start(<JobBase>exchange.ready.popleft())
        finally:
            self._starting = False

    def _continue(self):
        self.start_ready()
        self.flush()

    cdef _start(self, JobBase job):
        cdef Route route = self._route
        cdef Run run
        cdef Exchange exchange = self.exchange
        if self._routes is not None:
            route = <Route>self._routes.get(job.name, route)
        if route is None:
            self._policy.unhandled(job)
            return
        exchange.running += 1
        exchange.note_start()
        exchange.running_jobs.add(job)
        job.context = self.context
        job.started_ns = monotonic_ns()
        self._note_wait(job)
        if self.on_active is not None:
            self.on_active(job)
        if job.options is not None and job.settings.timeout is not None:
            self._policy.started(job)
        if route.threaded:
            self._thread_jobs.append((job, route.handler))
            self._wake_threads(1)
            return
        run = Run.__new__(Run)
        run.job, run.dispatcher, run.handler = job, self, route.handler
        job.run = run
        if self._eager:
            task = self._task_type(run, loop=self.loop, name=job.id, eager_start=True)
            if not task.done():
                run.task = task
        else:
            run.task = self._task_type(run, loop=self.loop, name=job.id)

    cdef _note_wait(self, JobBase job):
        """Measure from added, or due, to started; later attempts would measure their backoff."""
        cdef long long due, late
        if job.packed_attempts is None:
            due = job.timestamp + (0 if job.options is None else job.settings.delay)
            late = max(0, self.exchange.server_ms(job.claimed_ns) - due)
            self.waits.add((job.started_ns - job.claimed_ns) // 1000 + late * 1000)

    # Ends.

    cdef _completed(self, Run run, value):
        cdef JobBase job = run.job
        cdef long long now_ns = monotonic_ns()
        self.exchange.running -= 1
        run.task = run.coro = None
        self._ended(job)
        self.runs.add((now_ns - job.started_ns) // 1000)
        self._settle(job, value, now_ns)
        self._go_on()

    cdef _failed(self, Run run, error):
        cdef JobBase job = run.job
        self.exchange.running -= 1
        run.task = run.coro = None
        self._ended(job)
        self._policy.failed(job, error, run.cancel_reason)
        self._go_on()

    cdef _ended(self, JobBase job):
        self.exchange.running_jobs.discard(job)
        job.run = None
        if job.options is not None:
            self._policy.ended(job)

    cdef _settle(self, JobBase job, value, long long now_ns):
        if job.session is not self.exchange.number or job.fenced:
            return      # the lease was lost, or it was settled while its handler ran on
        try:
            self.exchange.complete(job, value, now_ns)
        except Exception as error:
            self._policy.failed(job, error, None)
            return
        if self.on_completed is not None:
            self.on_completed(job, value)

    cdef _go_on(self):
        """A slot is free: start the next job, and see that the exchange leaves when it is worth it."""
        if self.exchange.ready:
            self.start_ready()
        if self._flush_due:
            return
        if not self.exchange.inflight or self.exchange.gathered >= self.exchange.gather:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def _flush(self):
        self._flush_due = False
        self.flush()

    def flush(self):
        """Let the exchange send what it has to send."""
        if self.protocol is not None:
            self.protocol.pump(self.exchange)

    # Threads.

    cdef _wake_threads(self, Py_ssize_t waiting):
        """Wake one thread for short handlers, as many as there is work for otherwise; start missing ones."""
        cdef int wanted = 1
        if not 0 < self._mean_run_us < SHORT_RUN_US:
            wanted = <int>min(waiting, self.exchange.concurrency)
        while wanted > 0 and self._idle_threads > 0:
            self._idle_threads -= 1
            wanted -= 1
            self._tokens.put(None)
        if wanted > 0 and self._mean_run_us and self._mean_run_us < SHORT_RUN_US and self.threads:
            return
        while wanted > 0 and len(self.threads) < self.exchange.concurrency:
            wanted -= 1
            name = f"bullrush-{len(self.threads)}"
            thread = threading.Thread(target=self._thread_main, name=name, daemon=True)
            self.threads.append(thread)
            thread.start()

    def _thread_main(self):
        cdef JobBase job
        while not self._stopping:
            if self._all_threaded:
                job = self._next_in_thread()
                if job is None:
                    self._wait_for_work()
                    continue
                self._run_in_thread(job, self._route.handler)
            else:
                try:
                    job, handler = self._thread_jobs.popleft()
                except IndexError:
                    self._wait_for_work()
                    continue
                self._run_in_thread(job, handler)

    cdef JobBase _next_in_thread(self):
        """Take a claimed job; the interpreter's lock is held from the look to the count."""
        cdef Exchange exchange = self.exchange
        cdef JobBase job
        if not exchange.ready or exchange.running >= exchange.concurrency:
            return None
        if not exchange.may_start(monotonic_ns() * 1e-9):
            return None
        job = exchange.ready.popleft()
        exchange.running += 1
        exchange.note_start()
        exchange.running_jobs.add(job)
        job.context = self.context
        job.started_ns = monotonic_ns()
        self._note_wait(job)
        if job.options is not None and job.settings.timeout is not None:
            self.loop.call_soon_threadsafe(self._policy.started, job)
        return job

    cdef _wait_for_work(self):
        self._idle_threads += 1
        # Whoever added work before this thread counted as idle woke nobody: look once more.
        work = self.exchange.ready if self._all_threaded else self._thread_jobs
        if work and not self._stopping and self._may_take():
            self._idle_threads -= 1
            return
        self._tokens.get()

    cdef bint _may_take(self):
        if not self._all_threaded:
            return True
        if self.exchange.running >= self.exchange.concurrency:
            return False
        return self.exchange.may_start(monotonic_ns() * 1e-9)

    cdef _run_in_thread(self, JobBase job, handler):
        cdef object value = None
        cdef object error = None
        cdef long long now_ns
        if self._all_threaded and self.on_active is not None:
            self.loop.call_soon_threadsafe(self.on_active, job)
        try:
            value = handler(job)
        except BaseException as failure:
            error = failure
        now_ns = monotonic_ns()
        self._mean_run_us += 0.1 * ((now_ns - job.started_ns) / 1000.0 + 0.001 - self._mean_run_us)
        self.exchange.running -= 1
        self._done.append((job, value, error, now_ns))
        if not self._notified:
            self._notified = True
            try:
                self.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                # The loop is closed: the lease will lapse, and another worker gets the job.
                self._stopping = True

    def _drain(self):
        """Settle what the threads have finished."""
        cdef JobBase job
        self._notified = False
        while self._done:
            job, value, error, now_ns = self._done.popleft()
            self._ended(job)
            if error is not None:
                self._policy.failed(job, error, job.cancel_reason_)
            elif hasattr(value, "__await__"):
                self._policy.awaitable(job, value)
            else:
                self.runs.add((now_ns - job.started_ns) // 1000)
                self._settle(job, value, now_ns)
        self.start_ready()
        self.flush()

    def settle(self, JobBase job not None, value):
        """Settle a job as completed by hand."""
        self._settle(job, value, monotonic_ns())
        self._go_on()

    def stop_threads(self):
        """Let idle threads end, and busy ones after their job."""
        self._stopping = True
        for _ in self.threads:
            self._tokens.put(None)
