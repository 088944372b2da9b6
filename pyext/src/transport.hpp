// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "loop_core.hpp"
#include "watcher.hpp"

namespace penstock::python {

class Transport;

/// What the Python instances of all transports begin with. The first fields are the slots of
/// asyncio.transports._FlowControlMixin, where CPython puts them (checked when the types are made):
/// so they are instances of asyncio's classes, and what is written in Python for these works.
struct TransportObject {
  PyObject_HEAD PyObject* extra;         ///< A dict: what get_extra_info() knows.
  std::array<PyObject*, 4> other_slots;  ///< Not used, Transport has it.
  PyObject* dict;                        ///< Attributes that somebody else has set.
  PyObject* weak_references;
  Transport* transport;  ///< The other part of the same instance.
};

/// What stream and datagram transports have in common: the life of a socket that belongs to a loop,
/// its protocol, and flow control of what is to be written, as asyncio's _SelectorTransport.
///
/// The loop keeps a transport alive as long as it watches its descriptor. The protocol's functions
/// that events lead to run in one context, a copy of that in which the transport was made.
///
/// Threads: the loop's, with the GIL. Errors: false and nullptr say that an exception is set.
class Transport : public Watcher {
 public:
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  [[nodiscard]] static Transport& of(PyObject* object) noexcept {
    return *reinterpret_cast<TransportObject*>(object)->transport;
  }

  /// What a transport is made of; references are borrowed. nullptr stands for None.
  struct Parts {
    PyObject* loop;
    PyObject* socket;
    PyObject* protocol;
    PyObject* waiter;  ///< A future, set when connection_made() was called.
    PyObject* extra;
    PyObject* server;
  };
  [[nodiscard]] bool open(const Parts& parts);

  [[nodiscard]] bool ready(io_uring::Interest what) final;
  [[nodiscard]] PyObject* object() const noexcept final {
    return reinterpret_cast<PyObject*>(&object_);
  }

  // Methods of the Python object, as asyncio has them.

  [[nodiscard]] bool start(PyObject* waiter);
  [[nodiscard]] bool serve(io_uring::Interest what);
  [[nodiscard]] bool close();
  [[nodiscard]] bool force_close(PyObject* exception);
  [[nodiscard]] bool lose_connection(PyObject* exception);
  [[nodiscard]] virtual bool set_protocol(PyObject* protocol);
  [[nodiscard]] bool pause_reading();
  [[nodiscard]] bool resume_reading();
  [[nodiscard]] bool set_limits(Py_ssize_t high, Py_ssize_t low);
  [[nodiscard]] bool maybe_pause_protocol();
  [[nodiscard]] bool maybe_resume_protocol();
  /// Bytes that are not sent yet.
  [[nodiscard]] virtual std::size_t queued() const noexcept = 0;
  /// Logs or reports what went wrong, and closes.
  [[nodiscard]] bool fatal_error(PyObject* exception, const char* message);
  void finalize();

  virtual int traverse(visitproc visit, void* arg) const;
  virtual void clear();

  [[nodiscard]] PyObject* protocol() const noexcept { return protocol_.get(); }
  [[nodiscard]] PyObject* loop() const noexcept { return loop_.get(); }
  [[nodiscard]] PyObject* socket() const noexcept { return socket_.get(); }
  [[nodiscard]] PyObject* server() const noexcept { return server_.get(); }
  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] bool is_closing() const noexcept { return is_closing_; }
  [[nodiscard]] bool is_paused() const noexcept { return is_paused_; }
  [[nodiscard]] bool is_protocol_paused() const noexcept { return is_protocol_paused_; }
  [[nodiscard]] bool is_reading() const noexcept { return !is_paused_ && !is_closing_; }
  [[nodiscard]] Py_ssize_t high() const noexcept { return high_; }
  [[nodiscard]] Py_ssize_t low() const noexcept { return low_; }
  [[nodiscard]] unsigned lost() const noexcept { return lost_; }
  /// What the loop reports of it at present.
  [[nodiscard]] io_uring::Interest watched() const noexcept { return is_watched() ? watched_ : 0; }

 protected:
  Transport(LoopCore& core, TransportObject& object) noexcept;

  /// The descriptor can be read. Reads a bounded number of times.
  [[nodiscard]] virtual bool read() = 0;
  /// There is room for what is queued.
  [[nodiscard]] virtual bool write() = 0;
  virtual void drop_queue() = 0;
  [[nodiscard]] virtual bool connection_lost() { return true; }

  [[nodiscard]] LoopCore& core() const noexcept { return *core_; }
  [[nodiscard]] ModuleState& state() const noexcept { return state_; }
  [[nodiscard]] PyObject* context() const noexcept { return context_.get(); }
  [[nodiscard]] PyObject* extra() const noexcept { return object_.extra; }
  /// Whether the socket still has the descriptor: somebody may have closed it behind our back, and
  /// the number be another file's. False: errno is EBADF.
  [[nodiscard]] bool has_descriptor() const noexcept;
  [[nodiscard]] bool wants_data() const noexcept {
    return is_reading() && !is_at_end_ && lost_ == 0;
  }

  /// Calls a function of the protocol in the transport's context; nullptr: without an argument.
  [[nodiscard]] PyRef call(PyObject* function, PyObject* argument) const;
  /// Of the exception that is set. True: it was dealt with, and the transport is closing.
  [[nodiscard]] bool fail(const char* message);
  /// Same, of errno.
  [[nodiscard]] bool fail_errno(const char* message);
  /// Same, but only reports it.
  [[nodiscard]] bool report(const char* message);
  [[nodiscard]] bool call_soon(PyObject* name, PyObject* argument);
  [[nodiscard]] bool log_in_debug_mode(const char* format);
  [[nodiscard]] bool warn_of_writing();

  /// Has the loop report `interest` too.
  [[nodiscard]] bool want(io_uring::Interest interest);
  /// Has it report nothing any more if there is nothing to do.
  void relax();
  void unwatch() noexcept;
  /// All that was queued is sent. False: the caller is to do what there is left to do then.
  [[nodiscard]] bool finish_if_closing(bool* is_closing);

  bool is_at_end_ = false;   ///< Nothing more is to be read, though it is not closed.
  bool may_read_ = false;    ///< Something is there that was reported and not read.
  bool is_hung_up_ = false;  ///< No more comes: read until the end.
  unsigned lost_ = 0;        ///< connection_lost() was called or is to be; and writes since.

 private:
  [[nodiscard]] bool is_watched() const noexcept {
    return core_ != nullptr && watched_ != 0 && core_->watcher_of(fd_) == this;
  }
  [[nodiscard]] bool find_addresses(PyObject* extra);
  [[nodiscard]] bool set_socket(PyObject* socket);
  [[nodiscard]] bool change_server(const char* method);
  [[nodiscard]] bool end();
  PyRef give_up_socket() noexcept;

  ModuleState& state_;
  TransportObject& object_;
  LoopCore* core_;  // nullptr: connection_lost() was called.
  PyRef loop_;
  PyRef protocol_;
  PyRef context_;
  PyRef socket_;
  PyRef server_;
  int fd_ = -1;
  const int* fd_place_ = &fd_;  // In the socket.
  io_uring::Interest watched_ = 0;
  bool is_closing_ = false;
  bool is_paused_ = false;
  bool is_protocol_paused_ = false;
  Py_ssize_t high_ = kHigh;
  Py_ssize_t low_ = kHigh / 4;

  static constexpr Py_ssize_t kHigh = Py_ssize_t{64} * 1024;
};

}  // namespace penstock::python
