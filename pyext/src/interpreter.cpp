// SPDX-License-Identifier: Apache-2.0
#include "interpreter.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "exceptions.hpp"
#include "module.hpp"
#include "output.hpp"

namespace penstock::python {

std::string text_of(const PyStatus& status) {
  if (PyStatus_Exception(status) == 0) return {};
  std::string text = status.func != nullptr ? std::string(status.func) + ": " : std::string();
  return text + (status.err_msg != nullptr ? status.err_msg : "Python cannot start");
}

namespace {

/// Python's large objects come from malloc. The VM, which has allocators of its own, fixes glibc's
/// thresholds at values that give each object of 128 KiB or more fresh pages, at 3 us and more for
/// every one of them. These are what glibc's own adjustment, which that turned off, can come to.
void let_malloc_reuse_memory() noexcept {
#ifdef __GLIBC__
  constexpr int kLargestOnHeap_bytes = 32 << 20;
  // Called once; what other threads allocate meanwhile follows the old values or the new.
  // NOLINTBEGIN(concurrency-mt-unsafe)
  (void)mallopt(M_MMAP_THRESHOLD, kLargestOnHeap_bytes);
  (void)mallopt(M_TRIM_THRESHOLD, 2 * kLargestOnHeap_bytes);
  // NOLINTEND(concurrency-mt-unsafe)
#endif
}

/// The process's locale, its C stdio and its signal handlers belong to the VM.
std::string preinitialize() {
  PyPreConfig config;
  PyPreConfig_InitPythonConfig(&config);
  config.parse_argv = 0;
  config.configure_locale = 0;
  config.coerce_c_locale = 0;
  config.coerce_c_locale_warn = 0;
  config.utf8_mode = 1;  // As Erlang's own strings and file names, whatever the locale is.
  return text_of(Py_PreInitialize(&config));
}

class Config : public PyConfig {
 public:
  Config() { PyConfig_InitPythonConfig(this); }
  ~Config() { PyConfig_Clear(this); }
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;
};

std::string initialize(const std::string& python) {
  Config config;
  config.parse_argv = 0;
  config.install_signal_handlers = 0;
  config.configure_c_stdio = 0;
  config.pathconfig_warnings = 0;
  // Prefix, site-packages and virtual environments follow from the path of the executable.
  for (wchar_t** const setting : {&config.program_name, &config.executable}) {
    const PyStatus status = PyConfig_SetBytesString(&config, setting, python.c_str());
    if (PyStatus_Exception(status) != 0) return text_of(status);
  }
  return text_of(Py_InitializeFromConfig(&config));
}

}  // namespace

bool prepend_path(const std::string& directory) {
  PyObject* const path = PySys_GetObject("path");
  const PyRef entry = PyRef::steal(PyUnicode_DecodeFSDefault(directory.c_str()));
  return entry && path != nullptr && PyList_Check(path) && PyList_Insert(path, 0, entry.get()) == 0;
}

std::string start_interpreter(const RuntimeConfig& config, ModuleState*& state) {
  let_malloc_reuse_memory();
  if (std::string failure = preinitialize(); !failure.empty()) return failure;
  if (std::string failure = initialize(config.executable); !failure.empty()) return failure;
  state = prepend_path(config.package_path) ? import_embedded() : nullptr;
  return state != nullptr && install_output() ? std::string() : exception_text();
}

}  // namespace penstock::python
