/* SPDX-License-Identifier: MIT */
/* The second extension: holdfast._cluster. */
#include "cluster.h"

const struct py_cache_calls *cache_calls;

static struct PyModuleDef cluster_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._cluster",
    .m_doc = "The calls of libholdfast-cluster; use holdfast.cluster.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__cluster(void);
PyMODINIT_FUNC PyInit__cluster(void)
{
    PyObject *module;

    cache_calls = PyCapsule_Import(CACHE_CALLS, 0);
    if (!cache_calls)
        return NULL;
    module = PyModule_Create(&cluster_definition);
    if (module && !add_members(module) && !add_server(module) && !add_cluster(module))
        return module;
    Py_XDECREF(module);
    return NULL;
}
