// SPDX-License-Identifier: Apache-2.0
#include "embed.hpp"

#include <dlfcn.h>

/// Of libpython. Declared rather than included: nif/ does not see Python.h.
extern "C" int Py_IsInitialized(void);  // NOLINT(readability-identifier-naming): not our name.

namespace penstock::nif {

namespace {

/// The VM loads a NIF library with local symbols, and libpython with it; but the extension modules
/// of Python's standard library do not name libpython as a dependency, and expect its symbols to be
/// global. So makes them so, of the very library that is mapped, wherever it came from.
std::string promote_libpython() {
  Dl_info where{};
  if (dladdr(reinterpret_cast<const void*>(&Py_IsInitialized), &where) == 0) {
    return "cannot tell which library Python is in";
  }
  // Never closed: Python stays until the VM halts.
  if (dlopen(where.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) == nullptr) {
    const char* const reason = dlerror();  // NOLINT(concurrency-mt-unsafe): per thread in glibc.
    return std::string("cannot open ") + where.dli_fname +
           " globally: " + (reason != nullptr ? reason : "it is not a shared library");
  }
  return {};
}

}  // namespace

std::string start_python(const python::RuntimeConfig& config) {
  std::string failure = promote_libpython();
  return failure.empty() ? python::start_runtime(config) : failure;
}

}  // namespace penstock::nif
