// SPDX-License-Identifier: Apache-2.0
#include "delivery.hpp"

#include <new>
#include <utility>

#include "atoms.hpp"
#include "foreign_binary.hpp"
#include "guard.hpp"
#include "penstock/bytes.hpp"
#include "resource.hpp"

namespace penstock::nif {

namespace {

/// A message on its way to a dirty scheduler.
class Delivery {
 public:
  Delivery(std::unique_ptr<Message> message, Woken woken) noexcept
      : message_(std::move(message)), woken_(woken) {}
  [[nodiscard]] const Message& message() const noexcept { return *message_; }
  [[nodiscard]] Woken woken() const noexcept { return woken_; }

 private:
  const std::unique_ptr<Message> message_;
  const Woken woken_;
};

ERL_NIF_TERM decoded(ErlNifEnv* env, const Message& message) {
  ERL_NIF_TERM term{};
  switch (decode(env, message, &term)) {
    case Status::ok:
      return make_ok(env, term);
    case Status::limit:
      return make_error(env, atoms().atom_limit);
    case Status::out_of_memory:
      return make_error(env, atoms().enomem);
    default:
      return make_error(env, atoms().corrupt);
  }
}

ERL_NIF_TERM deliver_large(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Delivery& delivery = *Resource<Delivery>::get(env, argv[0]);
  return wrap(env, delivery.woken(), decoded(env, delivery.message()));
}

}  // namespace

bool open_delivery_type(ErlNifEnv* env) noexcept {
  return Resource<Delivery>::open(env, "penstock_delivery");
}

ERL_NIF_TERM wrap(ErlNifEnv* env, Woken woken, ERL_NIF_TERM result) noexcept {
  return woken == Woken::no ? result : enif_make_tuple2(env, atoms().fired, result);
}

ERL_NIF_TERM deliver(ErlNifEnv* env, std::unique_ptr<Message>& message, Woken woken) {
  const bool is_small = message->size() <= kMaxBytesAtOnce;
  std::unique_ptr<Message> next(is_small || !on_normal_scheduler() ? nullptr
                                                                   : new (std::nothrow) Message());
  // Without memory to take it elsewhere, a large one is decoded here rather than lost.
  if (!next) {
    const ERL_NIF_TERM result = decoded(env, *message);
    message->clear();
    return wrap(env, woken, result);
  }
  const auto delivery = Resource<Delivery>::make(std::exchange(message, std::move(next)), woken);
  const ERL_NIF_TERM argument = delivery.term(env);
  return continue_dirty<deliver_large, 1>(env, "deliver_large", &argument);
}

ERL_NIF_TERM deliver_bytes(ErlNifEnv* env, std::unique_ptr<Message>& message, Woken woken) {
  return wrap(env, woken, make_ok(env, take_bytes(env, message)));
}

ERL_NIF_TERM take_bytes(ErlNifEnv* env, std::unique_ptr<Message>& message) {
  const auto pinned = Ref<wire::PinnedBytes>::borrow(bytes::view(*message).pinned);
  if (!pinned) return binary_of(env, message);
  message->clear();
  return binary_of(env, *pinned);
}

ERL_NIF_TERM receive_error(ErlNifEnv* env, Status status) noexcept {
  switch (status) {
    case Status::empty:
      return make_error(env, atoms().empty);
    case Status::closed:
      return make_error(env, atoms().closed);
    default:
      return make_error(env, atoms().enomem);
  }
}

ERL_NIF_TERM send_result(ErlNifEnv* env, Status status) noexcept {
  switch (status) {
    case Status::ok:
      return atoms().ok;
    case Status::full:
      return atoms().busy;
    case Status::closed:
      return make_error(env, atoms().closed);
    case Status::too_large:
      return make_error(env, atoms().too_large);
    case Status::too_long:
      return make_error(env, atoms().too_long);
    case Status::limit:
      return make_error(env, atoms().limit);
    case Status::no_reader:
      return make_error(env, atoms().no_reader);
    case Status::not_shared:
      return make_error(env, atoms().not_shared);
    default:
      return make_error(env, atoms().enomem);
  }
}

ERL_NIF_TERM encode_error(ErlNifEnv* env, Encoder::Outcome outcome, Encoder& encoder) noexcept {
  return make_error(env,
                    outcome == Encoder::Outcome::unsupported ? encoder.reason() : atoms().enomem);
}

}  // namespace penstock::nif
