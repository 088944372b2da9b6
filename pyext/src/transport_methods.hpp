// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// The methods and attributes of transports' Python objects, as asyncio's have them.
///
/// Threads: the loop's, with the GIL.
namespace penstock::python {

PyObject* transport_repr(PyObject* self);

/// Of all.
extern PyMethodDef transport_methods[];
extern PyGetSetDef transport_properties[];
/// Of streams.
extern PyMethodDef stream_transport_methods[];
extern PyGetSetDef stream_transport_properties[];

}  // namespace penstock::python
