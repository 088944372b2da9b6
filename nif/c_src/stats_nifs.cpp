// SPDX-License-Identifier: Apache-2.0
#include <new>
#include <vector>

#include "atoms.hpp"
#include "context_resource.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/byte_stream.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/segment.hpp"
#include "penstock/shared_queue.hpp"
#include "process_context.hpp"
#include "vm_domain.hpp"

namespace penstock::nif {

namespace {

/// Channels and buffers that are told of; so many take less than a millisecond.
constexpr std::size_t kMostObjects = 1000;

class Map {
 public:
  explicit Map(ErlNifEnv* env) noexcept : env_(env), map_(enif_make_new_map(env)) {}
  Map& put(ERL_NIF_TERM key, ERL_NIF_TERM value) {
    if (enif_make_map_put(env_, map_, key, value, &map_) == 0) throw std::bad_alloc();
    return *this;
  }
  Map& put(ERL_NIF_TERM key, bool value) {
    return put(key, value ? atoms().true_ : atoms().false_);
  }
  Map& number(ERL_NIF_TERM key, std::uint64_t value) {
    return put(key, enif_make_uint64(env_, value));
  }
  [[nodiscard]] ERL_NIF_TERM term() const noexcept { return map_; }

 private:
  ErlNifEnv* const env_;
  ERL_NIF_TERM map_;
};

ERL_NIF_TERM stats_of(ErlNifEnv* env, Channel& channel) {
  const auto& queue = static_cast<const SharedQueue&>(*channel.shared());
  const bool is_bytes = channel.content() == Channel::Content::bytes;
  return Map(env)
      .number(atoms().descriptor, static_cast<std::uint64_t>(queue.descriptor()))
      .put(atoms().content, is_bytes ? atoms().bytes : atoms().terms)
      .number(atoms().size, channel.size())
      .number(atoms().capacity, queue.shape().capacity)
      .number(atoms().max_size, channel.max_size())
      .put(atoms().closed, channel.is_closed())
      .number(atoms().pinned, queue.leased())
      .number(atoms().waiting_for_data, channel.data_waiters().waiting())
      .number(atoms().waiting_for_space, channel.space_waiters().waiting())
      .term();
}

ERL_NIF_TERM stats_of(ErlNifEnv* env, ByteStream& stream) {
  const ByteStream::Progress progress = stream.progress();
  const bool is_over = stream.is_closed() || stream.is_closed_by_reader();
  return Map(env)
      .number(atoms().descriptor, static_cast<std::uint64_t>(stream.shared_memory()->descriptor()))
      .number(atoms().read, progress.read)
      .number(atoms().written, progress.written)
      .number(atoms().max_size, stream.options().max_unread)
      .put(atoms().closed, is_over)
      .number(atoms().waiting_for_data, stream.data_waiters().waiting())
      .number(atoms().waiting_for_space, stream.space_waiters().waiting())
      .term();
}

}  // namespace

ERL_NIF_TERM context_stats(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ContextResource* const resource = Resource<ContextResource>::get(env, argv[0]);
  if (resource == nullptr) throw BadArg();
  Map stats(env);
  stats.number(atoms().calls, resource->calls());
  if (resource->context().is_remote()) {  // Here that is a process.
    const auto& process = static_cast<const ProcessContext&>(resource->context());
    const Link::Fill fill = process.link_fill();
    stats.put(atoms().link, Map(env)
                                .number(atoms().to_worker, fill.to_other)
                                .number(atoms().from_worker, fill.from_other)
                                .put(atoms().has_more, fill.has_more)
                                .term());
  }
  return stats.term();
}

ERL_NIF_TERM node_stats(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  std::vector<Ref<Shareable>> objects;
  std::size_t count = 0;
  if (const VmDomain* const vm = vm_domain_if_any()) {
    count = vm->domain->list(objects, kMostObjects);
  }
  ERL_NIF_TERM channels = enif_make_list(env, 0);
  ERL_NIF_TERM buffers = enif_make_list(env, 0);
  for (const Ref<Shareable>& object : objects) {
    if (auto* const channel = dynamic_cast<Channel*>(object.get())) {
      channels = enif_make_list_cell(env, stats_of(env, *channel), channels);
    } else if (auto* const stream = dynamic_cast<ByteStream*>(object.get())) {
      buffers = enif_make_list_cell(env, stats_of(env, *stream), buffers);
    }
  }
  ERL_NIF_TERM output = atoms().none;
  if (const Ref<Channel> channel = python::output_channel()) {
    output = Map(env)
                 .number(atoms().size, channel->size())
                 .number(atoms().max_size, channel->max_size())
                 .term();
  }
  return Map(env)
      .number(atoms().shared_bytes, static_cast<std::uint64_t>(Segment::shared_bytes()))
      .number(atoms().shared_count, count)
      .put(atoms().shared_channels, channels)
      .put(atoms().shared_buffers, buffers)
      .put(atoms().output, output)
      .term();
}

}  // namespace penstock::nif
