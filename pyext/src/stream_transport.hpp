// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "send_queue.hpp"
#include "transport.hpp"

namespace penstock::python {

/// The transport of a connected TCP or unix socket: `erlang._native.StreamTransport`, as asyncio's
/// _SelectorSocketTransport.
///
/// What is received goes to the protocol at once: as bytes of exactly its size, into the buffer of
/// a BufferedProtocol, or, without any Python, into the buffer of an asyncio.StreamReader. What is
/// written is sent at once; what there is no room for is queued.
///
/// Threads: the loop's, with the GIL. Cost: one system call for each read that does not fill its
/// buffer, one for each write.
class StreamTransport final : public Transport {
 public:
  StreamTransport(LoopCore& core, TransportObject& object) noexcept : Transport(core, object) {}
  ~StreamTransport() override = default;

  [[nodiscard]] static StreamTransport& of(PyObject* object) noexcept {
    return static_cast<StreamTransport&>(Transport::of(object));
  }

  [[nodiscard]] bool open_stream(const Parts& parts);
  [[nodiscard]] bool set_protocol(PyObject* protocol) override;
  [[nodiscard]] std::size_t queued() const noexcept override { return queue_.size(); }
  [[nodiscard]] bool has_more() override;
  void clear() override;
  int traverse(visitproc visit, void* arg) const override;

  // False: an exception is set.

  [[nodiscard]] bool write_bytes(PyObject* data);
  [[nodiscard]] bool write_lines(PyObject* lines);
  [[nodiscard]] bool write_eof();
  /// A future that is done when nothing is queued, and forbids to write.
  [[nodiscard]] PyRef make_empty_waiter();
  void reset_empty_waiter();

  [[nodiscard]] bool has_written_eof() const noexcept { return has_written_eof_; }
  [[nodiscard]] PyObject* empty_waiter() const noexcept { return empty_waiter_.get(); }
  [[nodiscard]] const SendQueue& queue() const noexcept { return queue_; }

 private:
  /// How the protocol takes what comes.
  enum class Style : std::uint8_t { bytes, buffer, reader };
  /// How a read ended.
  enum class Read : std::uint8_t {
    more,    ///< Something, and there may be more.
    all,     ///< What there was, if anything.
    failed,  ///< An exception is set that ends the run of the loop.
  };

  [[nodiscard]] bool read() override;
  [[nodiscard]] bool write() override;
  void drop_queue() override { queue_.clear(); }
  [[nodiscard]] bool connection_lost() override;

  void speed_up_reader(PyObject* protocol);
  [[nodiscard]] Read read_bytes();
  [[nodiscard]] Read read_into_buffer();
  [[nodiscard]] Read read_into_reader();
  [[nodiscard]] ssize_t receive(char* data, std::size_t size);
  /// A receive() that brought nothing.
  [[nodiscard]] Read receive_ended(ssize_t result);
  [[nodiscard]] Read received(ssize_t size, std::size_t room);
  [[nodiscard]] Read read_end();
  [[nodiscard]] PyRef receive_large(ssize_t* size);

  [[nodiscard]] bool may_write(const char* method);
  [[nodiscard]] bool push(PyObject* data, const Py_buffer& view, std::size_t offset);
  [[nodiscard]] bool queue_all(PyObject* pieces);
  /// Sends of the queue what there is room for. False: errno says why not.
  [[nodiscard]] bool send_queued();
  [[nodiscard]] bool after_queuing();
  [[nodiscard]] bool queue_is_empty();
  [[nodiscard]] bool shut_down();
  [[nodiscard]] bool settle_empty_waiter(PyObject* exception);

  Style style_ = Style::bytes;
  bool is_tcp_ = false;
  bool is_cut_ = false;        ///< The last read, of no TCP, ended before what was there did.
  bool expects_much_ = false;  ///< The last read was a large one.
  bool has_written_eof_ = false;
  PyRef take_data_;    // The protocol's data_received or get_buffer,
  PyRef take_update_;  // and buffer_updated.
  PyRef empty_waiter_;
  SendQueue queue_;
};

}  // namespace penstock::python
