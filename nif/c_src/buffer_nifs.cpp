// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>
#include <new>
#include <system_error>

#include "atoms.hpp"
#include "byte_message.hpp"
#include "codec.hpp"
#include "delivery.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/shared_stream.hpp"
#include "stream_resource.hpp"
#include "vm_domain.hpp"
#include "waiting.hpp"

namespace penstock::nif {

namespace {

using For = ProcessWaiter::For;

ERL_NIF_TERM invalid_buffer(ErlNifEnv* env) noexcept {
  return make_error(env, atoms().invalid_buffer);
}

/// A number of bytes, or `undefined`. Throws BadArg.
std::uint64_t bytes_or_unknown(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifUInt64 bytes{};
  if (term == atoms().undefined) return ByteStream::kUnknown;
  if (enif_get_uint64(env, term, &bytes) == 0) throw BadArg();
  return bytes;
}

/// Writes, after its process has become the writer.
Status write(ErlNifEnv* env, StreamResource& resource, const ByteMessage& data) noexcept {
  ErlNifPid self{};
  (void)enif_self(env, &self);
  resource.set_writer(env, self);
  if (data.bytes().size() < bytes::kPinThreshold) return resource.core().write(data.bytes());
  Ref<wire::PinnedBytes> pinned = data.pin();
  return pinned ? resource.core().write(pinned) : Status::out_of_memory;
}

/// Into a shared buffer all is copied.
bool copies_too_much(const StreamResource& resource, const ByteMessage& data) noexcept {
  return resource.core().is_shared() && data.bytes().size() > kMaxBytesAtOnce &&
         on_normal_scheduler();
}

ERL_NIF_TERM write_in_line(ErlNifEnv* env, StreamResource& resource, ProcessWaiter& waiter,
                           const ByteMessage& bytes) {
  ByteStream& stream = resource.core();
  stream.want_room(bytes.bytes().size());
  Status status = write(env, resource, bytes);
  if (status == Status::full) status = stream.full_or_abandoned();
  if (status == Status::full) return wait_result(env, waiter);
  return wrap(env, finish(waiter), send_result(env, status));
}

}  // namespace

bool open_buffer_types(ErlNifEnv* env) noexcept {
  return Resource<StreamResource>::open(env, "penstock_buffer");
}

namespace {

/// Throws BadArg, bad_alloc and system_error.
Ref<ByteStream> shared_stream(ErlNifEnv* env, const ByteStream::Options& options) {
  if (options.max_unread > SharedStream::kMostSize) throw BadArg();
  ErlNifPid self{};
  (void)enif_self(env, &self);
  VmDomain& vm = vm_domain(self.pid);
  return SharedStream::create(vm.domain, vm.porter, options);
}

ERL_NIF_TERM new_buffer(ErlNifEnv* env, Ref<ByteStream> stream) {
  if (!stream) return make_error(env, atoms().enomem);
  return make_ok(env, Resource<StreamResource>::make(std::move(stream)).term(env));
}

}  // namespace

/// (ContentLength | undefined, MaxSize, Limit | undefined, Retain, Shared)
ERL_NIF_TERM buffer_new(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ByteStream::Options options;
  options.content_length = bytes_or_unknown(env, argv[0]);
  ErlNifUInt64 max_size{};
  if (enif_get_uint64(env, argv[1], &max_size) == 0) throw BadArg();
  options.max_unread = max_size;
  options.limit = bytes_or_unknown(env, argv[2]);
  options.retains = argv[3] == atoms().true_;
  if (argv[4] != atoms().true_) return new_buffer(env, ByteStream::create(options));
  try {
    return new_buffer(env, shared_stream(env, options));
  } catch (const std::system_error& error) {
    return make_error(env, reason_of(error));
  }
}

ERL_NIF_TERM buffer_write(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ByteMessage bytes(env, argv[1]);
  StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  if (copies_too_much(*resource, bytes)) {
    return continue_dirty<buffer_write, 2>(env, "buffer_write", argv);
  }
  return send_result(env, write(env, *resource, bytes));
}

/// How much goes into the buffer at a time, if what is longer can go in pieces; 0: it cannot.
ERL_NIF_TERM buffer_piece_size(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  const ByteStream& stream = resource->core();
  return enif_make_uint64(env, stream.is_shared() ? stream.options().max_unread : 0);
}

ERL_NIF_TERM buffer_write_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ByteMessage bytes(env, argv[1]);
  StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  if (copies_too_much(*resource, bytes)) {
    return continue_dirty<buffer_write_wait, 3>(env, "buffer_write_wait", argv);
  }
  const auto waiter = wait_in_line(env, Ref<Object>::borrow(&resource->core()),
                                   resource->core().space_waiters(), For::room_in_stream, argv[2]);
  return write_in_line(env, *resource, *waiter, bytes);
}

ERL_NIF_TERM buffer_write_again(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ByteMessage bytes(env, argv[2]);
  StreamResource* const resource = Resource<StreamResource>::get(env, argv[1]);
  ProcessWaiter& waiter = own_waiter(env, argv[0], For::room_in_stream);
  if (resource == nullptr || &waiter.owner() != &resource->core()) throw BadArg();
  if (copies_too_much(*resource, bytes)) {
    return continue_dirty<buffer_write_again, 3>(env, "buffer_write_again", argv);
  }
  waiter.looked();
  waiter.arm();
  return write_in_line(env, *resource, waiter, bytes);
}

ERL_NIF_TERM buffer_close(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  resource->core().close();
  return atoms().ok;
}

ERL_NIF_TERM buffer_abort(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  auto reason = std::make_unique<Message>();
  Encoder encoder(env, *reason);
  const Encoder::Outcome outcome = encoder.term(argv[1]);
  if (outcome == Encoder::Outcome::too_much_work) {
    return continue_dirty<buffer_abort, 2>(env, "buffer_abort", argv);
  }
  if (outcome != Encoder::Outcome::ok) return encode_error(env, outcome, encoder);
  return send_result(env, resource->core().abort(std::move(reason)));
}

ERL_NIF_TERM buffer_set_writer(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ErlNifPid process{};
  if (enif_get_local_pid(env, argv[1], &process) == 0) throw BadArg();
  StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  resource->set_writer(env, process);
  return atoms().ok;
}

ERL_NIF_TERM buffer_info(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const StreamResource* const resource = Resource<StreamResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_buffer(env);
  const ByteStream& stream = resource->core();
  const auto [read, written] = stream.progress();
  std::uint64_t const announced = stream.options().content_length;
  ERL_NIF_TERM keys[] = {atoms().size,           atoms().max_size, atoms().closed, atoms().pinned,
                         atoms().content_length, atoms().read,     atoms().written};
  ERL_NIF_TERM values[] = {
      enif_make_uint64(env, written - read),
      enif_make_uint64(env, stream.options().max_unread),
      stream.is_closed() ? atoms().true_ : atoms().false_,
      enif_make_uint64(env, stream.pinned()),
      announced == ByteStream::kUnknown ? atoms().undefined : enif_make_uint64(env, announced),
      enif_make_uint64(env, read),
      enif_make_uint64(env, written)};
  ERL_NIF_TERM info{};
  if (enif_make_map_from_arrays(env, keys, values, std::size(keys), &info) == 0) {
    throw std::bad_alloc();
  }
  return info;
}

}  // namespace penstock::nif
