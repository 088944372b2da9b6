// SPDX-License-Identifier: Apache-2.0
// Rings, a shared channel and a link in memory that another process writes to as the input says.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "hostile.hpp"
#include "penstock/link.hpp"
#include "penstock/mpsc_ring.hpp"
#include "penstock/shared_queue.hpp"
#include "penstock/spsc_ring.hpp"
#include "penstock/wire.hpp"

namespace penstock::fuzz {
namespace {

/// Zeroed memory of exactly this size, so that AddressSanitizer sees the first byte outside.
class Memory {
 public:
  explicit Memory(std::size_t bytes)
      : bytes_(bytes), memory_(std::aligned_alloc(kSharedLine, bytes)) {
    require(memory_ != nullptr);
    std::memset(memory_, 0, bytes);
  }
  ~Memory() { std::free(memory_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  [[nodiscard]] std::span<std::uint8_t> span() const {
    return {static_cast<std::uint8_t*>(memory_), bytes_};
  }

 private:
  std::size_t bytes_;
  void* memory_;
};

/// Once, before anybody looks.
void scribble(Input& input, std::span<std::uint8_t> memory) {
  for (unsigned count = input.byte() % 8; count != 0; --count) {
    // Mostly where the words are.
    std::size_t const at = input.number(2) % std::min<std::size_t>(memory.size() - 7, 4096);
    std::uint64_t const value = input.word();
    std::memcpy(memory.data() + at, &value, sizeof value);
  }
}

std::span<const std::uint8_t> bytes_of(std::size_t size) {
  static constexpr std::uint8_t kZeros[140'000] = {};
  return std::span(kZeros).first(std::min(size, sizeof kZeros));
}

// Rings
// ------------------------------------------------------------------------------------------------

template <class Producer, class Consumer>
void use_ring(Input& input, Hostile& hostile, std::uint64_t capacity, Producer& producer,
              Consumer& consumer) {
  while (!input.is_over()) {
    std::uint8_t const what = input.byte();
    hostile.bounded([&] {
      std::span<const std::uint8_t> record;
      switch (what % 5) {
        case 0:
          (void)producer.try_send(bytes_of(input.number(3) % (capacity / 2 + 100)));
          break;
        case 1:
          if (consumer.peek(&record) == Status::ok) {
            touch(record);
            consumer.consume();
          }
          break;
        case 2: {
          std::uint8_t room[300];
          std::size_t count = 0;
          if (consumer.try_receive(room, &count) == Status::ok) touch(std::span(room, count));
          break;
        }
        case 3:
          consumer.release();
          producer.wake_consumer();
          break;
        default:
          if constexpr (std::is_same_v<Consumer, MpscConsumer>) {
            (void)consumer.abort_claims_of(static_cast<MpscRing::Owner>(input.byte() % 4));
            (void)(consumer.waits_for() + consumer.used() + consumer.next_size());
            (void)consumer.has_record();
          } else {
            producer.close();
          }
      }
    });
  }
}

void mpsc(Input& input) {
  // The last holds records of several blocks.
  constexpr std::uint64_t kCapacities[] = {256, 512, 1024, 2048, 256, 512, 1024, 262'144};
  std::uint64_t const capacity = kCapacities[input.byte() % std::size(kCapacities)];
  const Memory memory((MpscRing::bytes_for(capacity) + kSharedLine - 1) / kSharedLine *
                      kSharedLine);
  MpscRing::format(memory.span(), capacity, input.word());
  scribble(input, memory.span());
  if (!MpscRing::attach(memory.span(), capacity)) return;
  Hostile hostile(input, memory.span());
  MpscProducer producer(memory.span(), capacity, 2);
  MpscConsumer consumer(memory.span(), capacity);
  use_ring(input, hostile, capacity, producer, consumer);
}

void spsc(Input& input) {
  std::uint64_t const capacity = std::uint64_t{128} << input.byte() % 4;
  const Memory memory(SpscRing::bytes_for(capacity));
  SpscRing::format(memory.span(), capacity, input.word() & ~std::uint64_t{7});
  scribble(input, memory.span());
  if (!SpscRing::attach(memory.span(), capacity)) return;
  Hostile hostile(input, memory.span());
  SpscProducer producer(memory.span(), capacity);
  SpscConsumer consumer(memory.span(), capacity);
  use_ring(input, hostile, capacity, producer, consumer);
}

// A shared channel
// ------------------------------------------------------------------------------------------------

wire::ValuePorter porter(0x13);

void receive(Channel& channel) {
  Message message;
  if (channel.receive_or_wait(message) != Status::ok) return;
  touch(message.bytes());
  Message ours;
  (void)wire::from_portable(message.bytes(), porter, ours);
}

void shared_channel(Input& input) {
  static const Ref<Domain>& domain = *new Ref<Domain>(Domain::create());
  const Ref<Channel> channel = SharedQueue::create(domain, porter, 1024, Channel::Content::terms);
  auto& queue = static_cast<SharedQueue&>(*channel->shared());
  const std::span<std::uint8_t> memory = queue.memory()->memory();
  channel->add_sender();
  scribble(input, memory);
  Hostile hostile(input, memory);
  ThreadWaiter waiter;
  while (!input.is_over()) {
    std::uint8_t const what = input.byte();
    hostile.bounded([&] {
      switch (what % 7) {
        case 0: {
          Message message;
          if (wire::Writer(message).bytes(wire::kBytes, bytes_of(input.number(2) % 1200))) {
            (void)channel->try_send(message);
          }
          break;
        }
        case 1:
          receive(*channel);
          break;
        case 2:
          channel->look_for_waiters();
          break;
        case 3:
          (void)channel->recover(input.byte() % 64);
          break;
        case 4:
          (void)(channel->size() + queue.next_size());
          (void)(channel->has_sender() || channel->is_closed() || queue.has_room());
          break;
        case 5: {
          WaitList& line = what < 128 ? channel->data_waiters() : channel->space_waiters();
          line.add(waiter);
          receive(*channel);
          (void)waiter.leave(line);
          break;
        }
        default:
          channel->pass_on_space();
      }
    });
  }
}

// A link
// ------------------------------------------------------------------------------------------------

void link(Input& input) {
  int ends[2];
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  Segment segment = Segment::create_private(Link::bytes());
  const std::span<std::uint8_t> memory = segment.memory();
  const Ref<Link> vm = Link::create(std::move(segment), ends[0], Link::Side::vm);
  // Both rings begin in the first pages, and end far from them.
  scribble(input, memory.first(4096));
  scribble(input, memory.subspan(Link::bytes() / 2));
  {
    Hostile hostile(input, memory);
    Message partial;
    for (bool is_fine = true; is_fine && !input.is_over();) {
      std::uint8_t const what = input.byte();
      hostile.bounded([&] {
        if (what % 3 == 0) {
          Message frame;
          std::size_t const size = what < 200 ? input.byte() : 300'000;
          if (frame.extend(size) != nullptr) (void)vm->send(frame);
        } else if (what % 3 == 1) {
          const Status status = vm->receive(partial, 0);
          is_fine = status == Status::ok || status == Status::empty;
          if (status == Status::ok) touch(partial.bytes());
          if (status == Status::ok) partial.reset();
        } else if (Link::Look look(*vm); look) {
          Message frame;
          if (look.take(frame, 4096) == Status::ok) touch(frame.bytes());
        }
      });
    }
  }
  close(ends[1]);
}

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock::fuzz;
  Input input(data, size);
  switch (input.byte() % 4) {
    case 0:
      mpsc(input);
      break;
    case 1:
      spsc(input);
      break;
    case 2:
      shared_channel(input);
      break;
    default:
      link(input);
  }
  return 0;
}
