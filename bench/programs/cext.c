/* The peer of the package's callback path: a C extension that calls a Python handler from a C thread with an
 * event object of its own C type. What a hand-written binding would cost. Knows nothing of cbprocess but the
 * event's layout. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "cbprocess.h"

#include <pthread.h>
#include <time.h>

struct event_object {
    PyObject_HEAD struct cbp_event *event;
};

static struct cbp_event *event_of(PyObject *self)
{
    return ((struct event_object *) self)->event;
}

static PyObject *get_process_id(PyObject *self, void *closure)
{
    (void) closure;
    return PyLong_FromUnsignedLong(event_of(self)->process_id);
}

static PyObject *get_process_name(PyObject *self, void *closure)
{
    struct cbp_event *event = event_of(self);
    (void) closure;
    return PyUnicode_DecodeUTF8(cbp_event_process_name(event), event->process_name_size, "surrogateescape");
}

static PyObject *get_result_code(PyObject *self, void *closure)
{
    (void) closure;
    return PyLong_FromUnsignedLong(event_of(self)->result_code);
}

static int set_result_code(PyObject *self, PyObject *value, void *closure)
{
    unsigned long code = PyLong_AsUnsignedLong(value);
    (void) closure;
    if (code == (unsigned long) -1 && PyErr_Occurred())
        return -1;
    event_of(self)->result_code = (uint32_t) code;
    return 0;
}

static PyGetSetDef properties[] = {
    {"process_id", get_process_id, NULL, NULL, NULL},
    {"process_name", get_process_name, NULL, NULL, NULL},
    {"result_code", get_result_code, set_result_code, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {{Py_tp_getset, properties}, {0, NULL}};

static PyType_Spec specification = {
    .name = "cext.Event",
    .basicsize = sizeof(struct event_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

static PyObject *event_type;

struct job {
    PyObject *handler;
    uint64_t count;
    uint64_t spent_ns;
    int failed;
};

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

static void call(struct job *job, PyObject *event)
{
    PyObject *result = PyObject_CallFunctionObjArgs(job->handler, event, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(job->handler);
        job->failed = 1;
    }
    Py_XDECREF(result);
}

/* Keeps its thread state for all events, and gives the interpreter away between them, as a worker that waits
 * would. */
static void *run_events(void *argument)
{
    static const char name[] = "/usr/lib/git-core/git-remote-https";
    struct job *job = argument;
    struct {
        struct cbp_event fixed;
        char text[64];
    } block = {.fixed = {.process_name_offset = sizeof block.fixed, .process_name_size = sizeof name - 1}};
    memcpy(block.text, name, sizeof name);
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *event = PyObject_CallNoArgs(event_type);
    if (event != NULL)
        ((struct event_object *) event)->event = &block.fixed;
    job->failed = event == NULL;
    PyThreadState *saved = PyEval_SaveThread();
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < job->count && !job->failed; i++) {
        block.fixed.process_id = (uint32_t) (1000 + (i & 0x3fff));
        block.fixed.result_code = 0;
        PyEval_RestoreThread(saved);
        call(job, event);
        saved = PyEval_SaveThread();
    }
    job->spent_ns = now_ns() - start;
    PyEval_RestoreThread(saved);
    Py_XDECREF(event);
    PyGILState_Release(state);
    return NULL;
}

static PyObject *run(PyObject *module, PyObject *arguments)
{
    struct job job = {0};
    unsigned long long count;
    pthread_t thread;
    (void) module;
    if (!PyArg_ParseTuple(arguments, "OK", &job.handler, &count))
        return NULL;
    job.count = count;
    PyThreadState *saved = PyEval_SaveThread();
    int error = pthread_create(&thread, NULL, run_events, &job);
    if (error == 0)
        error = pthread_join(thread, NULL);
    PyEval_RestoreThread(saved);
    if (error != 0 || job.failed)
        return PyErr_Format(PyExc_RuntimeError, "the events could not be run");
    return PyLong_FromUnsignedLongLong(job.spent_ns);
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "run(handler, count): nanoseconds for count events in a C thread"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "cext", .m_size = -1,
                                        .m_methods = methods};

PyMODINIT_FUNC PyInit_cext(void)
{
    event_type = PyType_FromSpec(&specification);
    return event_type != NULL ? PyModule_Create(&definition) : NULL;
}
