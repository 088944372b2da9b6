// SPDX-License-Identifier: Apache-2.0
#include "stream_resource.hpp"

#include <memory>
#include <new>
#include <string_view>

#include "penstock/message.hpp"
#include "penstock/wire.hpp"

namespace penstock::nif {

namespace {

void abort_with(ByteStream& stream, std::string_view reason) noexcept {
  std::unique_ptr<Message> message(new (std::nothrow) Message());
  if (message != nullptr) (void)wire::Writer(*message).atom(reason);  // Fits inside.
  (void)stream.abort(std::move(message));
}

}  // namespace

class StreamResource::Guard {
 public:
  explicit Guard(StreamResource& resource) noexcept : lock_(resource.lock_) {
    for (unsigned turn = 0; lock_.exchange(1, order::acquire("N3")) != 0; ++turn) spin_pause(turn);
  }
  ~Guard() { lock_.store(0, order::release("N3")); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Atomic<std::uint32_t>& lock_;
};

StreamResource::~StreamResource() {
  if (!stream_->is_closed()) abort_with(*stream_, "no_writer");
}

void StreamResource::set_writer(ErlNifEnv* env, const ErlNifPid& process) noexcept {
  if (writer_.load(order::relaxed) == process.pid) return;
  bool is_alive = true;
  {
    const Guard guard(*this);
    if (writer_.load(order::relaxed) != 0) (void)enif_demonitor_process(env, this, &monitor_);
    is_alive = enif_monitor_process(env, this, &process, &monitor_) == 0;
    writer_.store(is_alive ? process.pid : 0, order::relaxed);
  }
  if (!is_alive) abort_with(*stream_, "writer_down");
}

void StreamResource::down(const ErlNifPid& process) noexcept {
  bool was_writer = false;
  {
    const Guard guard(*this);
    // Not if another one has written meanwhile.
    was_writer = writer_.load(order::relaxed) == process.pid;
    if (was_writer) writer_.store(0, order::relaxed);
  }
  if (was_writer && !stream_->is_closed()) abort_with(*stream_, "writer_down");
}

}  // namespace penstock::nif
