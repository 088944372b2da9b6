// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <deque>

#include "transport.hpp"

namespace penstock::python {

/// The transport of a UDP or unix datagram socket: `erlang._native.DatagramTransport`, as asyncio's
/// _SelectorDatagramTransport; empty datagrams are sent, too, which it does since Python 3.12.
///
/// Threads: the loop's, with the GIL. Cost: one system call for each datagram, and one more for
/// each time that there are some.
class DatagramTransport final : public Transport {
 public:
  DatagramTransport(LoopCore& core, TransportObject& object) noexcept : Transport(core, object) {}
  ~DatagramTransport() override = default;

  [[nodiscard]] static DatagramTransport& of(PyObject* object) noexcept {
    return static_cast<DatagramTransport&>(Transport::of(object));
  }

  /// `address`: to whom the socket sends if not told; nullptr: nobody. False: an exception is set.
  [[nodiscard]] bool open_endpoint(const Parts& parts, PyObject* address);
  [[nodiscard]] std::size_t queued() const noexcept override { return size_; }
  void clear() override;
  int traverse(visitproc visit, void* arg) const override;

  /// `address` may be None. False: an exception is set.
  [[nodiscard]] bool send_to(PyObject* data, PyObject* address);
  [[nodiscard]] PyObject* address() const noexcept { return address_.get(); }

 private:
  struct Datagram {
    PyRef bytes;
    PyRef address;
  };
  enum class Sent : std::uint8_t {
    done,    ///< Or given up, and the protocol was told.
    later,   ///< There is no room.
    failed,  ///< An exception is set, or the transport is closing now.
  };

  [[nodiscard]] bool read() override;
  [[nodiscard]] bool write() override;
  void drop_queue() override;

  [[nodiscard]] bool deliver(const char* data, std::size_t size, PyObject* address);
  /// error_received(), with errno.
  [[nodiscard]] bool tell_errno();
  [[nodiscard]] Sent send(PyObject* data, PyObject* address);
  [[nodiscard]] Sent send_connected(PyObject* data);
  /// Of the exception that is set.
  [[nodiscard]] Sent not_sent();

  PyRef address_;
  bool is_connected_ = false;
  std::deque<Datagram> queue_;
  std::size_t size_ = 0;  // As asyncio counts it.
};

}  // namespace penstock::python
