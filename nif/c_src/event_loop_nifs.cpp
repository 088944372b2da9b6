// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <new>
#include <utility>

#include "atoms.hpp"
#include "event_loop.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/shim.hpp"
#include "resource.hpp"

namespace penstock::nif {

namespace {

/// Ends with the last reference.
class LoopResource {
 public:
  explicit LoopResource(Ref<EventLoop> loop) noexcept : loop_(std::move(loop)) {}
  ~LoopResource() { loop_->destroy(); }
  [[nodiscard]] const Ref<EventLoop>& loop() const noexcept { return loop_; }

 private:
  const Ref<EventLoop> loop_;
};

/// What add_reader and add_writer hand out.
struct WatchResource {
  WatchResource(Ref<EventLoop> of, Ref<EventLoop::Watch> what) noexcept
      : loop(std::move(of)), watch(std::move(what)) {}
  const Ref<EventLoop> loop;
  const Ref<EventLoop::Watch> watch;
};

struct TimerResource {
  TimerResource(Ref<EventLoop> of, const EventLoop::Timer& which) noexcept
      : loop(std::move(of)), timer(which) {}
  const Ref<EventLoop> loop;
  const EventLoop::Timer timer;
};

/// A century: what is later never happens.
constexpr ErlNifUInt64 kMaxDelay_ms = 3'155'760'000'000;

const Ref<EventLoop>* loop_in(ErlNifEnv* env, ERL_NIF_TERM term) noexcept {
  const LoopResource* const resource = Resource<LoopResource>::get(env, term);
  return resource == nullptr ? nullptr : &resource->loop();
}

ERL_NIF_TERM invalid_loop(ErlNifEnv* env) noexcept { return make_error(env, atoms().invalid_loop); }

/// Of a watch, whichever loop it is of.
ERL_NIF_TERM with_watch(ErlNifEnv* env, ERL_NIF_TERM term,
                        void (EventLoop::*act)(EventLoop::Watch&)) {
  const WatchResource* const resource = Resource<WatchResource>::get(env, term);
  if (resource == nullptr) return make_error(env, atoms().invalid_fd_ref);
  (*resource->loop.*act)(*resource->watch);
  return atoms().ok;
}

ERL_NIF_TERM remove(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  const WatchResource* const resource = Resource<WatchResource>::get(env, argv[1]);
  if (resource == nullptr || resource->loop.get() != loop->get()) {
    return make_error(env, atoms().invalid_fd_ref);
  }
  (*loop)->remove(*resource->watch);
  return atoms().ok;
}

ERL_NIF_TERM add(ErlNifEnv* env, const ERL_NIF_TERM* argv, EventKind kind) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  int fd{};
  if (enif_get_int(env, argv[1], &fd) == 0) return make_error(env, atoms().invalid_fd);
  ErlNifUInt64 id{};
  if (enif_get_uint64(env, argv[2], &id) == 0) return make_error(env, atoms().invalid_callback_id);
  Ref<EventLoop::Watch> watch;
  switch ((*loop)->add(fd, kind, id, &watch)) {
    case 0:
      return make_ok(env, Resource<WatchResource>::make(*loop, std::move(watch)).term(env));
    case ECANCELED:
      return invalid_loop(env);
    default:
      return make_error(env, atoms().select_failed);
  }
}

}  // namespace

bool open_event_loop_types(ErlNifEnv* env) noexcept {
  return Resource<LoopResource>::open(env, "penstock_event_loop") &&
         Resource<WatchResource>::open(env, "penstock_event_fd") &&
         Resource<TimerResource>::open(env, "penstock_event_timer");
}

// Loops
// ------------------------------------------------------------------------------------------------

ERL_NIF_TERM event_loop_new(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  Ref<EventLoop> loop = EventLoop::start();
  if (!loop) return make_error(env, errno == ENOMEM ? atoms().enomem : atoms().system_limit);
  return make_ok(env, Resource<LoopResource>::make(std::move(loop)).term(env));
}

ERL_NIF_TERM event_loop_destroy(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  (*loop)->destroy();
  return atoms().ok;
}

ERL_NIF_TERM event_loop_set_worker(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  ErlNifPid worker{};
  if (argv[1] == atoms().undefined) {
    (*loop)->set_worker({});
  } else if (enif_get_local_pid(env, argv[1], &worker) != 0) {
    (*loop)->set_worker(worker);
  } else {
    throw BadArg();
  }
  return atoms().ok;
}

ERL_NIF_TERM event_loop_wakeup(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  (*loop)->wake();
  return atoms().ok;
}

ERL_NIF_TERM event_loop_dispatch(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  ErlNifUInt64 id{};
  if (enif_get_uint64(env, argv[1], &id) == 0) throw BadArg();
  for (const EventKind kind : {EventKind::read, EventKind::write, EventKind::timer}) {
    if (argv[2] != atom_of(kind)) continue;
    (*loop)->add_pending({id, kind});
    return atoms().ok;
  }
  throw BadArg();
}

ERL_NIF_TERM poll_events(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  std::int64_t deadline = io_uring::Reactor::no_deadline;
  ErlNifUInt64 timeout_ms{};
  if (enif_get_uint64(env, argv[1], &timeout_ms) != 0) {
    if (timeout_ms <= kMaxDelay_ms) {
      deadline = now_ns() + static_cast<std::int64_t>(timeout_ms) * 1'000'000;
    }
  } else if (argv[1] != atoms().infinity) {
    throw BadArg();
  }
  return make_ok(env, enif_make_uint64(env, (*loop)->wait_for_events(deadline)));
}

ERL_NIF_TERM get_pending(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  ERL_NIF_TERM list = enif_make_list(env, 0);
  if (loop == nullptr) return list;
  const std::vector<LoopEvent> events = (*loop)->take_pending();
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    const ERL_NIF_TERM pair =
        enif_make_tuple2(env, enif_make_uint64(env, event->id), atom_of(event->kind));
    list = enif_make_list_cell(env, pair, list);
  }
  return list;
}

// Descriptors and timers
// ------------------------------------------------------------------------------------------------

ERL_NIF_TERM add_reader(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return add(env, argv, EventKind::read);
}
ERL_NIF_TERM add_writer(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return add(env, argv, EventKind::write);
}
ERL_NIF_TERM remove_reader(ErlNifEnv* env, const ERL_NIF_TERM* argv) { return remove(env, argv); }
ERL_NIF_TERM remove_writer(ErlNifEnv* env, const ERL_NIF_TERM* argv) { return remove(env, argv); }

ERL_NIF_TERM start_watching(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return with_watch(env, argv[0], &EventLoop::start);
}
ERL_NIF_TERM stop_watching(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return with_watch(env, argv[0], &EventLoop::stop);
}
ERL_NIF_TERM close_fd(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return with_watch(env, argv[0], &EventLoop::close);
}

ERL_NIF_TERM call_later(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  ErlNifUInt64 delay_ms{};
  ErlNifUInt64 id{};
  if (enif_get_uint64(env, argv[1], &delay_ms) == 0 || delay_ms > kMaxDelay_ms) throw BadArg();
  if (enif_get_uint64(env, argv[2], &id) == 0) return make_error(env, atoms().invalid_callback_id);
  const auto delay_ns = static_cast<std::int64_t>(delay_ms) * 1'000'000;
  const EventLoop::Timer timer = (*loop)->call_later(delay_ns, id);
  return make_ok(env, Resource<TimerResource>::make(*loop, timer).term(env));
}

ERL_NIF_TERM cancel_timer(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<EventLoop>* const loop = loop_in(env, argv[0]);
  if (loop == nullptr) return invalid_loop(env);
  const TimerResource* const resource = Resource<TimerResource>::get(env, argv[1]);
  if (resource == nullptr || resource->loop.get() != loop->get()) {
    return make_error(env, atoms().invalid_timer);
  }
  (*loop)->cancel(resource->timer);
  return atoms().ok;
}

}  // namespace penstock::nif
