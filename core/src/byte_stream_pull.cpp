// SPDX-License-Identifier: Apache-2.0
// The part of ByteStream that is for streams which processes share.
#include <new>
#include <utility>

#include "penstock/byte_stream.hpp"

namespace penstock {

/// What came before was read elsewhere.
void ByteStream::begin_at(std::uint64_t position) noexcept {
  free_chunks();
  first_.store(nullptr, order::relaxed);
  tail_ = head_ = at_ = nullptr;
  base_ = position;
  seen_from_ = seen_to_ = 0;
  relieved_.store(0, order::relaxed);
  read_.store(position, order::relaxed);
  written_.store(position, order::release("B1"));
}

bool ByteStream::take_turn() noexcept {
  if (!store_) return true;
  lock_writers();
  std::uint64_t position = 0;
  const StreamStore::Turn turn = store_->take_turn(&position);
  if (turn == StreamStore::Turn::begins) begin_at(position);
  unlock_writers();
  return turn != StreamStore::Turn::others;
}

void ByteStream::pull() noexcept {
  if (!store_) return;
  lock_writers();
  std::uint64_t at = written_.load(order::relaxed);
  const StreamStore::There there = store_->look(at);
  Status status = Status::ok;
  while (at < there.written) {
    const auto bytes = store_->bytes(at, there.written);
    status = append_copy(bytes);
    if (status != Status::ok) break;
    at += bytes.size();
    written_.store(at, order::release("B1"));
  }
  const bool has_ended = end_.load(order::relaxed) != kOpen;
  if (!has_ended && status != Status::ok) end_with("enomem");
  if (!has_ended && status == Status::ok) end_here(there.fate);
  unlock_writers();
  if (!has_ended && ended() != kOpen) data_.waiters().wake_all_near();
}

/// With the writers' lock: all that came before was taken over.
void ByteStream::end_here(StreamStore::Fate fate) noexcept {
  using Fate = StreamStore::Fate;
  switch (fate) {
    case Fate::open:
      return;
    case Fate::closed:
      return end_.store(kClosed, order::release("B4"));
    case Fate::aborted:
      reason_ = store_->reason();
      return end_.store(kAborted, order::release("B4"));
    case Fate::closed_by_reader:
      end_.store(kClosedByReader, order::release("B4"));
      return closed_by_reader_.store(1, order::release("B4"));
    case Fate::lost:
      return end_with("reader_down");
    case Fate::corrupt:
      return end_with("corrupt");
  }
}

void ByteStream::end_with(std::string_view reason) noexcept {
  reason_.reset(new (std::nothrow) Message());
  if (reason_ != nullptr) (void)wire::Writer(*reason_).atom(reason);  // Fits inside.
  end_.store(kAborted, order::release("B4"));
}

/// As Reading::relieve(). What is set aside is lost if this process goes: so not before a writer
/// wants room, or soon will, and no more than what the reader has looked at, all of which it needs.
void ByteStream::make_room(std::uint64_t position) noexcept {
  if (!store_->is_usable()) return;
  std::uint64_t const seen = written_.load(order::relaxed);  // We are who pulls.
  const bool is_pressed = store_->take_pressed();
  pull();
  std::uint64_t const end = written_.load(order::relaxed);
  // A writer may still want room: the reader looks at what has come before it sleeps.
  if (is_pressed && end != seen) store_->press();
  if (!is_pressed && end - position < options_.max_unread / 2) return;
  store_->set_aside(seen);
  space_.advance(seen);
}

void ByteStream::look_for_waiters() noexcept {
  data_.answer([this](std::uint64_t wanted) {
    return store_->written() >= wanted || is_closed() || store_->is_pressed();
  });
  space_.answer([this](std::uint64_t wanted) {
    return store_->given_back() >= wanted || is_closed() || store_->is_abandoned();
  });
}

bool ByteStream::recover(unsigned process) noexcept {
  store_->recover(process);
  data_.wake_all();
  space_.wake_all();
  return true;
}

}  // namespace penstock
