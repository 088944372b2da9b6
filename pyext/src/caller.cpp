// SPDX-License-Identifier: Apache-2.0
#include "caller.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>
#include <utility>

#include "caller_wait.hpp"
#include "encode.hpp"
#include "exceptions.hpp"
#include "executor.hpp"
#include "loop_endpoint.hpp"
#include "penstock/host.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

namespace {

/// The process that starts a process for each thread.
constexpr std::string_view kServer = "py_callback_server";
/// Levels of handlers that call back into the context they were called from.
constexpr std::size_t kMaxDepth = 256;
/// Fits wire::kInteger; comes round after a thousand million calls.
constexpr std::uint64_t kIds = std::uint64_t{1} << 30;

/// False: an exception is set. This is a plain python3, or a forked child.
bool require_host() {
  if (host() != nullptr) return true;
  PyErr_SetString(PyExc_RuntimeError, "not running inside Erlang");
  return false;
}

void raise_no_server() {
  PyErr_SetString(PyExc_RuntimeError, "Erlang's callback server does not run");
}

/// What a message to py_caller begins with. The words are asked for once: an atom's is the same for
/// the VM's life.
bool append_tag(wire::Writer& writer, CallerTag tag) noexcept {
  constexpr const char* kNames[] = {"penstock_open",     "penstock_call",    "penstock_async",
                                    "penstock_schedule", "penstock_release", "penstock_close",
                                    "penstock_adopt"};
  static constinit Atomic<std::uint64_t> words[std::size(kNames)] = {};
  const auto index = static_cast<std::size_t>(tag);
  std::uint64_t word = words[index].load(order::relaxed);
  if (word == 0) {
    Host* const erlang = host();
    if (erlang == nullptr || erlang->atom(kNames[index], word) != Status::ok) return false;
    words[index].store(word, order::relaxed);
  }
  return writer.atom_word(word);
}

bool append_path(wire::Writer& writer, const Path& path) {
  if (path.empty()) return writer.tag(wire::kNil);
  bool ok = writer.list(static_cast<std::uint32_t>(path.size()));
  for (const std::uint64_t pid : path) ok = ok && writer.pid_word(pid);
  return ok && writer.end_list();
}

/// False: an exception is set.
bool append_call(ModuleState& state, Message& message, wire::Writer& writer,
                 const ErlangFunction& function) {
  Py_ssize_t size = 0;
  const char* const name = PyUnicode_AsUTF8AndSize(function.name, &size);
  if (name == nullptr) return false;
  bool ok = writer.bytes(
      wire::kBinary, {reinterpret_cast<const std::uint8_t*>(name), static_cast<std::size_t>(size)});
  if (function.args.empty()) {
    ok = ok && writer.tag(wire::kNil);
  } else {
    ok = ok && writer.list(static_cast<std::uint32_t>(function.args.size()));
    for (PyObject* const arg : function.args) {
      if (ok && !encode(state, message, arg)) return false;
    }
    ok = ok && writer.end_list();
  }
  if (!ok) PyErr_NoMemory();
  return ok;
}

}  // namespace

// Life
// ------------------------------------------------------------------------------------------------

Caller* Caller::make(ModuleState& state, Ref<Channel> inbox, Executor* executor) {
  if (!require_host()) return nullptr;
  PyObject* const dict = PyThreadState_GetDict();
  if (!inbox) inbox = Channel::create(0);
  if (dict == nullptr || !inbox) {
    PyErr_NoMemory();
    return nullptr;
  }
  auto* const caller = new (std::nothrow) Caller(state, std::move(inbox), executor);
  if (caller == nullptr) {
    PyErr_NoMemory();
    return nullptr;
  }
  const PyRef capsule = PyRef::steal(PyCapsule_New(caller, kCapsule, destroy));
  if (!capsule) {
    delete caller;
    return nullptr;
  }
  if (PyDict_SetItem(dict, state.names.caller, capsule.get()) != 0) return nullptr;
  caller->enlist();
  return caller;
}

void Caller::destroy(PyObject* capsule) {
  delete static_cast<Caller*>(PyCapsule_GetPointer(capsule, kCapsule));
}

Caller::~Caller() {
  leave_line();
  if (reader_) forget_caller(*reinterpret_cast<InboxReaderObject*>(reader_.get()));
  delist();
  end_processes();
  for (const auto& [id, future] : std::exchange(futures_, {})) drop(future);
}

/// Those of this thread. An object that goes with the thread's Python state, and calls Erlang when
/// it does, leaves one that nobody drops: at the thread's end at least its processes go. (A key,
/// and not a thread_local object: those of the VM's main thread are destroyed while others still
/// run.)
pthread_key_t Caller::list_of_thread() noexcept {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    (void)pthread_key_create(&made, [](void* first) {
      for (auto* each = static_cast<Caller*>(first); each != nullptr;) {
        each->end_processes();
        each = std::exchange(each->next_of_thread_, nullptr);
      }
    });
    return made;
  }();
  return key;
}

void Caller::enlist() noexcept {
  next_of_thread_ = static_cast<Caller*>(pthread_getspecific(list_of_thread()));
  (void)pthread_setspecific(list_of_thread(), this);
}

/// From another thread there is nothing to do: this one's has ended.
void Caller::delist() noexcept {
  auto* const first = static_cast<Caller*>(pthread_getspecific(list_of_thread()));
  if (first == this) {
    (void)pthread_setspecific(list_of_thread(), next_of_thread_);
    return;
  }
  for (Caller* each = first; each != nullptr; each = each->next_of_thread_) {
    if (each->next_of_thread_ == this) each->next_of_thread_ = next_of_thread_;
  }
}

Caller* Caller::of_this_thread(ModuleState& state) {
  if (!require_host()) return nullptr;
  PyObject* const dict = PyThreadState_GetDict();
  PyObject* const known =
      dict == nullptr ? nullptr : PyDict_GetItemWithError(dict, state.names.caller);
  if (known != nullptr) return static_cast<Caller*>(PyCapsule_GetPointer(known, kCapsule));
  return PyErr_Occurred() != nullptr ? nullptr : make(state, {}, nullptr);
}

Caller* Caller::of_context(ModuleState& state, Ref<Channel> inbox, Executor& executor) {
  return make(state, std::move(inbox), &executor);
}

void Caller::forget_this_thread(ModuleState& state) {
  PyObject* const dict = PyThreadState_GetDict();
  if (dict != nullptr && PyDict_DelItem(dict, state.names.caller) != 0) PyErr_Clear();
}

// Calling
// ------------------------------------------------------------------------------------------------

PyObject* Caller::call(const ErlangFunction& function) {
  if (depth_ >= kMaxDepth) {
    PyErr_SetString(PyExc_RecursionError, "too many calls into Erlang wait inside one another");
    return nullptr;
  }
  const BackInLine back(*this);
  // The word that a handler is gone is not about this call, and a worker's Host would take one for
  // it.
  if (inbox_->size() != 0) serve();
  if (PyErr_Occurred() != nullptr || !open()) return nullptr;
  if (handlers_.size() <= depth_) handlers_.resize(depth_ + 1);
  std::size_t const level = depth_;
  Wait wait(*this, next_id());
  wait.handler = handlers_[level];
  Message request;
  if (!write_request(request, CallerTag::call, wait.id, {}, function)) return nullptr;
  while (!wait.answer) {  // Again if it comes back.
    if (!open() || !send_request(wait.handler, request)) return nullptr;
    wait.sent_to = wait.handler != 0 ? wait.handler : process_;
    wait.is_sent = true;
    if (!await(wait)) {
      // Whatever it still does, it is not this level's any more.
      dismiss(std::exchange(handlers_[level], 0), CallerTag::release);
      return nullptr;
    }
  }
  handlers_[level] = wait.is_adopted ? 0 : wait.handler;
  return result_of(*wait.answer);
}

PyObject* Caller::start(const ErlangFunction& function) {
  const BackInLine back(*this);
  const PyRef loop = running_loop(state_);
  if (!loop || !open() || !watch_in(loop.get())) return nullptr;
  PyRef future = new_future(loop.get());
  if (!future) return nullptr;
  std::uint64_t const id = next_id();
  Message request;
  std::uint64_t nobody = 0;
  if (!write_request(request, CallerTag::async, id, {}, function)) return nullptr;
  if (futures_.empty()) futures_since_ = parking().stops();
  futures_.emplace(id, PyRef::borrow(future.get()).take());
  unsent_ = id;
  const bool is_sent = send_request(nobody, request);
  unsent_ = 0;
  if (!is_sent) {
    drop(std::exchange(futures_[id], nullptr));
    futures_.erase(id);
    return nullptr;
  }
  have_loop_look();
  return future.take();
}

/// An erlang.calls.AsyncCall of `loop`.
PyRef Caller::new_future(PyObject* loop) {
  if (state_.async_call_type == nullptr) {
    const PyRef module = PyRef::steal(PyImport_ImportModule("erlang.calls"));
    if (!module) return {};
    state_.async_call_type = PyObject_GetAttrString(module.get(), "AsyncCall");
    state_.loop_keyword = Py_BuildValue("(s)", "loop");
    if (state_.async_call_type == nullptr || state_.loop_keyword == nullptr) return {};
  }
  return PyRef::steal(PyObject_Vectorcall(state_.async_call_type, &loop, 0, state_.loop_keyword));
}

bool Caller::schedule(Call& call, const ErlangFunction& function) {
  const BackInLine back(*this);
  Message request;
  std::uint64_t nobody = 0;
  return open() &&
         write_request(request, CallerTag::schedule, 0, Ref<Object>::borrow(&call), function) &&
         send_request(nobody, request);
}

std::uint64_t Caller::next_id() noexcept { return last_id_ = (last_id_ + 1) % kIds; }

// Requests
// ------------------------------------------------------------------------------------------------

bool Caller::write_request(Message& request, CallerTag kind, std::uint64_t id,
                           const Ref<Object>& call, const ErlangFunction& function) {
  wire::Writer writer(request);
  const bool ok = writer.tuple(5) && append_tag(writer, kind) &&
                  (call ? writer.handle(wire::HandleKind::call, call)
                        : writer.integer(static_cast<std::int64_t>(id)));
  if (!ok) {
    PyErr_NoMemory();
    return false;
  }
  if (!append_call(state_, request, writer, function)) return false;
  if (append_path(writer, executor_ != nullptr ? executor_->path_from_here() : Path())) return true;
  PyErr_NoMemory();
  return false;
}

Status Caller::send_to(std::uint64_t process, const Message& message) noexcept {
  std::uint8_t pid[1 + sizeof process] = {wire::kPidWord};
  std::memcpy(pid + 1, &process, sizeof process);
  Host* const erlang = host();
  return erlang != nullptr ? erlang->send(pid, message, inbox_.get()) : Status::unreachable;
}

bool Caller::send_request(std::uint64_t& process, const Message& request) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    std::uint64_t const to = process != 0 ? process : process_;
    switch (send_to(to, request)) {
      case Status::ok:
        return true;
      case Status::unreachable:
        if (process != 0) {
          process = 0;  // The handler died since; another one is started.
          continue;
        }
        process_ = 0;
        if (!open()) return false;
        continue;
      case Status::limit:
        PyErr_SetString(PyExc_RuntimeError, "too many atoms were made from Python");
        return false;
      case Status::not_shared:
        raise_not_shared();
        return false;
      case Status::out_of_memory:
        PyErr_NoMemory();
        return false;
      default:
        PyErr_SetString(PyExc_ValueError, "an argument has no form in Erlang");
        return false;
    }
  }
  raise_no_server();
  return false;
}

/// Gets a process for this thread. In a worker process no send tells that the last one is gone.
bool Caller::open() {
  if (process_ != 0 && inbox_->has_sender()) return true;
  process_ = 0;
  Message server;
  if (host()->whereis(kServer, server) != Status::ok) {
    raise_no_server();
    return false;
  }
  Message request;
  wire::Writer writer(request);
  if (!writer.tuple(2) || !append_tag(writer, CallerTag::open) ||
      !writer.handle(wire::HandleKind::inbox, Ref<Object>::borrow(inbox_.get()))) {
    PyErr_NoMemory();
    return false;
  }
  // From here on Erlang has a reference to the inbox, and when nobody does any more it is lost.
  if (host()->send(server.bytes(), request) != Status::ok) {
    raise_no_server();
    return false;
  }
  while (process_ == 0) {
    if (!receive_one()) return false;
  }
  return true;
}

/// What was begun with an earlier process. Its handlers end when they have done what they do, so
/// none of them gets another call; those that work are watched by the new one from now on. A call
/// whose handler is not known may have been run or not.
void Caller::adopt_handlers() {
  std::fill(handlers_.begin(), handlers_.end(), 0);
  for (Wait* wait = innermost_; wait != nullptr; wait = wait->outer) {
    // One that is being sent goes to the new process. Also the handler of one that was answered
    // just now ends, and gets no other call.
    if (!wait->is_sent || std::exchange(wait->is_adopted, true) || wait->answer) continue;
    Message message;
    wire::Writer writer(message);
    const bool is_watched =
        wait->handler != 0 && writer.tuple(3) && append_tag(writer, CallerTag::adopt) &&
        writer.integer(static_cast<std::int64_t>(wait->id)) && writer.pid_word(wait->handler) &&
        send_to(process_, message) == Status::ok;
    wait->is_lost = !is_watched;
  }
  if (!futures_.empty()) lose_futures();
}

void Caller::dismiss(std::uint64_t process, CallerTag what) {
  if (process == 0) return;
  Message message;
  wire::Writer writer(message);
  if (append_tag(writer, what)) (void)send_to(process, message);
}

}  // namespace penstock::python
