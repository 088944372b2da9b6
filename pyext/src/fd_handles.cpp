// SPDX-License-Identifier: Apache-2.0
#include "fd_handles.hpp"

#include "loop_core.hpp"

namespace penstock::python {

bool FdHandles::ready(io_uring::Interest what) {
  // What has gone wrong concerns both, as with asyncio.
  const bool is_over = (what & io_uring::hung_up) != 0;
  const bool reads = reader && ((what & io_uring::readable) != 0 || is_over);
  const bool writes = writer && ((what & io_uring::writable) != 0 || is_over);
  return (!reads || loop_.push_ready(PyRef::borrow(reader.get()))) &&
         (!writes || loop_.push_ready(PyRef::borrow(writer.get())));
}

}  // namespace penstock::python
