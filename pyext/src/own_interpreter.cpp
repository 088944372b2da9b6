// SPDX-License-Identifier: Apache-2.0
#include "own_interpreter.hpp"

#include <mutex>
#include <utility>

#include "exceptions.hpp"
#include "gil.hpp"
#include "interpreter.hpp"
#include "module.hpp"
#include "output.hpp"

namespace penstock::python {

namespace {

constinit Atomic<std::int64_t> living_count{0};

#if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
#define PENSTOCK_OWN_GIL

/// One interpreter starts or ends at a time: both touch what all of them share, and Python's own
/// locks there are young. Taken with no GIL that a starting or ending interpreter waits for: that
/// is the main one's only.
constinit std::mutex life_mutex;

/// How long threads that `threading` does not know may take.
constexpr std::int64_t kPatience_ns = 1'000'000'000;
constexpr std::int64_t kPause_ns = 2'000'000;

/// A state of this thread in the main interpreter, and its GIL, until another interpreter's takes
/// their place.
class MainThreadState {
 public:
  MainThreadState() : state_(PyThreadState_New(PyInterpreterState_Main())) {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  MainThreadState(const MainThreadState&) = delete;
  MainThreadState& operator=(const MainThreadState&) = delete;
  /// This thread is attached to it, or to nothing. Afterwards to nothing.
  ~MainThreadState() {
    if (state_ == nullptr) return;
    if (!has_gil()) PyEval_RestoreThread(state_);
    PyThreadState_Clear(state_);
    PyThreadState_DeleteCurrent();
  }
  explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  PyThreadState* const state_;
};

/// Modules of C whose types are static, so that all interpreters share them. What belongs to such a
/// type is made of the memory of the interpreter that imports the module first, and is gone with
/// that: the next one crashes (3.12.1, 3.13.0). So the main one imports them, which stays.
void import_shared_types() {
  static bool is_done = false;  // life_mutex's.
  if (std::exchange(is_done, true)) return;
  for (const char* const name : {"_datetime", "_decimal", "_asyncio"}) {
    // A Python may have been built without.
    if (!PyRef::steal(PyImport_ImportModule(name))) PyErr_Clear();
  }
}

int count_threads() {
  int count = 0;
  for (PyThreadState* each = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
       each != nullptr; each = PyThreadState_Next(each)) {
    ++count;
  }
  return count;
}

/// The module threading if somebody has imported it.
PyRef find_threading() {
  const PyRef name = PyRef::steal(PyUnicode_FromString("threading"));
  PyRef module = name ? PyRef::steal(PyImport_GetModule(name.get())) : PyRef();
  PyErr_Clear();
  return module;
}

/// What Py_EndInterpreter() does first, and may not do a second time: it must not begin while there
/// are threads that threading does not know, and those are known only when the others are gone.
void join_threads() {
  const PyRef threading = find_threading();
  if (!threading) return;
  const PyRef done = PyRef::steal(PyObject_CallMethod(threading.get(), "_shutdown", nullptr));
  if (!done) PyErr_WriteUnraisable(threading.get());
  // Any callable that takes nothing and does nothing.
  auto* const nothing = reinterpret_cast<PyObject*>(&PyDict_Type);
  if (PyObject_SetAttrString(threading.get(), "_shutdown", nothing) != 0) PyErr_Clear();
  // From 3.13 on an object here takes this thread out of the module's table, which it would do too
  // late: when the module has been emptied.
  const PyRef locals = PyRef::steal(PyObject_GetAttrString(threading.get(), "_thread_local_info"));
  const PyRef dict =
      locals ? PyRef::steal(PyObject_GetAttrString(locals.get(), "__dict__")) : PyRef();
  if (dict && PyDict_Check(dict.get())) PyDict_Clear(dict.get());
  PyErr_Clear();
}
#endif

}  // namespace

std::int64_t OwnInterpreter::living() noexcept { return living_count.load(order::relaxed); }

const char* no_own_interpreters() noexcept {
#if defined(Py_GIL_DISABLED)
  return "own-GIL contexts need a Python with a GIL; this one is free-threaded, and its contexts "
         "run "
         "in parallel as they are";
#elif PY_VERSION_HEX < 0x030C0000
  return "own-GIL contexts need Python 3.12 or newer";
#else
  return "";
#endif
}

#ifdef PENSTOCK_OWN_GIL

std::string OwnInterpreter::start() {
  if (std::string failure = make(); !failure.empty()) return failure;
  living_count.fetch_add(1, order::relaxed);
  std::string failure = import();
  if (failure.empty()) failure = runtime_.enter(PyThreadState_GetInterpreter(thread_), *state_);
  if (!failure.empty()) finish();
  return failure;
}

std::string OwnInterpreter::make() {
  PyInterpreterConfig config{};
  config.use_main_obmalloc = 0;
  config.allow_fork = 1;  // For subprocess, as in other contexts.
  config.allow_exec = 0;
  config.allow_threads = 1;
  config.allow_daemon_threads = 0;
  config.check_multi_interp_extensions = 1;
  config.gil = PyInterpreterConfig_OWN_GIL;
  const std::lock_guard alone(life_mutex);
  PyStatus status = PyStatus_NoMemory();
  {
    const MainThreadState main;
    if (main) {
      import_shared_types();
      status = Py_NewInterpreterFromConfig(&thread_, &config);
    }
    if (PyStatus_Exception(status) == 0) PyEval_SaveThread();
  }
  if (PyStatus_Exception(status) != 0) return text_of(status);
  PyEval_RestoreThread(thread_);
  return {};
}

std::string OwnInterpreter::import() {
  if (prepend_path(runtime_.config().package_path)) state_ = import_embedded();
  if (state_ == nullptr) return exception_text();
  state_->home = &runtime_.home();
  return install_output() ? std::string() : exception_text();
}

void OwnInterpreter::end() {
  parking().stop(*runtime_.home().others());
  runtime_.request();
  join_threads();
  if (!await_others()) {
    PyThreadState_Clear(thread_);
    PyThreadState_DeleteCurrent();
    return;
  }
  {
    const GilRelease released;
    runtime_.leave();
  }
  finish();
}

/// Whether nobody is left but this thread and the runtime's.
bool OwnInterpreter::await_others() const {
  std::int64_t const until_ns = now_ns() + kPatience_ns;
  while (count_threads() > 2) {
    std::int64_t const now = now_ns();
    if (now > until_ns) return false;
    Atomic<std::uint32_t> nobody{0};
    const GilRelease released;
    (void)futex_wait(nobody, 0, now + kPause_ns);
  }
  return true;
}

void OwnInterpreter::finish() {
  {
    const std::lock_guard alone(life_mutex);
    Py_EndInterpreter(thread_);
  }
  runtime_.home().end();
  delete std::exchange(state_, nullptr);
  living_count.fetch_sub(1, order::relaxed);
}

#else

std::string OwnInterpreter::start() { return no_own_interpreters(); }
void OwnInterpreter::end() {}

#endif

}  // namespace penstock::python
