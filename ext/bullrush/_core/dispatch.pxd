from cpython.object cimport PyObject

from bullrush._core.exchange cimport Exchange
from bullrush._core.histogram cimport Histogram
from bullrush._core.job cimport JobBase
from bullrush._core.protocol cimport DataProtocol

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT


cdef class Route:
    cdef readonly object handler
    cdef readonly bint threaded
    cdef readonly bint blocking


cdef class Run:
    cdef readonly JobBase job
    cdef readonly object task
    cdef Dispatcher dispatcher
    cdef object coro
    cdef object handler
    cdef public object cancel_reason

    cdef object _send(self, value)
    cdef PySendResult _advance(self, value, PyObject** result) except PYGEN_ERROR
    cdef _begin(self)
    cdef _failed(self, error)


cdef class Dispatcher:
    cdef readonly Exchange exchange
    cdef public DataProtocol protocol
    cdef public object context
    cdef readonly object loop
    cdef Route _route
    cdef dict _routes
    cdef object _policy
    cdef public object on_active
    cdef public object on_completed
    cdef readonly Histogram waits
    cdef readonly Histogram runs
    cdef bint _eager
    cdef bint _starting
    cdef bint _flush_due
    cdef bint _all_threaded
    cdef object _task_type
    cdef object _thread_jobs
    cdef object _done
    cdef bint _notified
    cdef object _tokens
    cdef int _idle_threads
    cdef readonly list threads
    cdef bint _stopping
    cdef double _mean_run_us

    cdef _start(self, JobBase job)
    cdef _note_wait(self, JobBase job)
    cdef _completed(self, Run run, value)
    cdef _failed(self, Run run, error)
    cdef _ended(self, JobBase job)
    cdef _settle(self, JobBase job, value, long long now_ns)
    cdef _go_on(self)
    cdef _wake_threads(self, Py_ssize_t waiting)
    cdef JobBase _next_in_thread(self)
    cdef _wait_for_work(self)
    cdef bint _may_take(self)
    cdef _run_in_thread(self, JobBase job, handler)
