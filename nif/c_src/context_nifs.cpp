// SPDX-License-Identifier: Apache-2.0
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "atom_limit.hpp"
#include "atoms.hpp"
#include "call.hpp"
#include "codec.hpp"
#include "context_resource.hpp"
#include "embed.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/python/runtime.hpp"
#include "process_context.hpp"

namespace penstock::nif {

/// Held for a few instructions, and, when a context dies, for one message to be sent.
class ContextResource::Guard {
 public:
  explicit Guard(ContextResource& context) noexcept : lock_(context.lock_) {
    for (unsigned turn = 0; lock_.exchange(1, order::acquire("N4")) != 0; ++turn) spin_pause(turn);
  }
  ~Guard() { lock_.store(0, order::release("N4")); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Atomic<std::uint32_t>& lock_;
};

void ContextResource::enlist(NifCall& call) noexcept {
  const Guard guard(*this);
  call.next_ = tasks_;
  if (tasks_ != nullptr) tasks_->previous_ = &call;
  tasks_ = &call;
  call.is_listed_ = true;
}

void ContextResource::delist(NifCall& call) noexcept {
  const Guard guard(*this);
  if (!std::exchange(call.is_listed_, false)) return;
  if (call.next_ != nullptr) call.next_->previous_ = call.previous_;
  (call.previous_ != nullptr ? call.previous_->next_ : tasks_) = call.next_;
}

/// A thread that does not end does not answer either. One after the other: others wait.
void ContextResource::lose_tasks() noexcept {
  for (;;) {
    const Guard guard(*this);
    NifCall* const first = tasks_;
    if (first == nullptr) return;
    tasks_ = first->next_;
    if (tasks_ != nullptr) tasks_->previous_ = nullptr;
    first->is_listed_ = false;
    first->lose();  // Alive: its destructor begins with delist().
  }
}

void ContextResource::down(const ErlNifPid& process) noexcept {
  if (process.pid == owner_.pid) {
    context_->stop();
    return lose_tasks();
  }
  Message forget;
  wire::Writer writer(forget);
  if (writer.tuple(2) && writer.integer(static_cast<std::int64_t>(Operation::forget)) &&
      writer.pid_word(process.pid)) {
    // Refused by a context that stops: all its namespaces go. Without memory one of them stays.
    (void)context_->submit(forget);
  }
}

namespace {

/// Bytes of binaries that a normal scheduler may copy on their way to another process.
constexpr std::uint64_t kCopiedAtOnce = std::uint64_t{256} * 1024;

/// A look keeps a scheduler busy.
constexpr std::int64_t kLongestLook_ns = 50'000;

/// Tells the owner that a context's thread has ended.
class ExitNotice : public Object {
 public:
  ExitNotice(const ErlNifPid& owner, ERL_NIF_TERM reference) noexcept
      : owner_(owner), reference_(enif_make_copy(env_.get(), reference)) {}

  void send() noexcept {
    const ERL_NIF_TERM message = enif_make_tuple2(env_.get(), atoms().penstock_stopped, reference_);
    (void)enif_send(nullptr, &owner_, env_.get(), message);  // An owner that died needs none.
  }
  /// The same of another process, with why it ended.
  void send(const Message& reason) noexcept {
    ERL_NIF_TERM term{};
    if (decode(env_.get(), reason, &term) != Status::ok) term = atoms().enomem;
    const ERL_NIF_TERM message =
        enif_make_tuple3(env_.get(), atoms().penstock_stopped, reference_, term);
    (void)enif_send(nullptr, &owner_, env_.get(), message);
  }

 private:
  const ErlNifPid owner_;
  const OwnedEnv env_;
  const ERL_NIF_TERM reference_;
};

ContextResource& get_context(ErlNifEnv* env, ERL_NIF_TERM term) {
  ContextResource* const context = Resource<ContextResource>::get(env, term);
  if (context == nullptr) throw BadArg();
  return *context;
}

const Ref<NifCall>& get_call(ErlNifEnv* env, ERL_NIF_TERM term) {
  const CallResource* const resource = Resource<CallResource>::get(env, term);
  if (resource == nullptr) throw BadArg();
  return resource->call();
}

std::int64_t get_look(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifSInt64 for_ns{};
  if (enif_get_int64(env, term, &for_ns) == 0 || for_ns < 0 || for_ns > kLongestLook_ns) {
    throw BadArg();
  }
  return for_ns;
}

std::string get_text(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifBinary binary{};
  if (enif_inspect_binary(env, term, &binary) == 0) throw BadArg();
  return {reinterpret_cast<const char*>(binary.data), binary.size};
}

ERL_NIF_TERM make_text(ErlNifEnv* env, const std::string& text) {
  ERL_NIF_TERM term{};
  unsigned char* const room = enif_make_new_binary(env, text.size(), &term);
  text.copy(reinterpret_cast<char*>(room), text.size());
  return term;
}

/// The contexts that wait for the caller. `*is_nested`: this one does. False when memory ran out.
bool write_path(ErlNifEnv* env, wire::Writer& writer, ERL_NIF_TERM list,
                const ContextResource& context, bool* is_nested) {
  unsigned length{};
  if (enif_get_list_length(env, list, &length) == 0) throw BadArg();
  if (length == 0) return writer.tag(wire::kNil);
  bool ok = writer.list(length);
  ERL_NIF_TERM head{};
  while (ok && enif_get_list_cell(env, list, &head, &list) != 0) {
    ErlNifPid pid{};
    if (enif_get_local_pid(env, head, &pid) == 0) throw BadArg();
    *is_nested = *is_nested || pid.pid == context.owner();
    ok = writer.pid_word(pid.pid);
  }
  return ok && writer.end_list();
}

struct Kind {
  Operation operation;
  AnswerAs answer = AnswerAs::answer;
};

std::optional<Kind> kind(ERL_NIF_TERM term) noexcept {
  if (term == atoms().call) return Kind{Operation::call};
  if (term == atoms().eval) return Kind{Operation::eval};
  if (term == atoms().exec) return Kind{Operation::exec};
  if (term == atoms().task) return Kind{Operation::call, AnswerAs::async_result};
  if (term == atoms().spawn) return Kind{Operation::call, AnswerAs::nothing};
  if (term == atoms().thread) return Kind{Operation::thread, AnswerAs::async_result};
  return {};
}

}  // namespace

bool open_context_types(ErlNifEnv* env) noexcept {
  return Resource<ContextResource>::open(env, "penstock_context") &&
         Resource<CallResource>::open(env, "penstock_call");
}

ERL_NIF_TERM runtime_start(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  python::RuntimeConfig config;
  config.executable = get_text(env, argv[0]);
  if (config.executable.empty()) config.executable = PENSTOCK_PYTHON;
  config.package_path = get_text(env, argv[1]);
  ErlNifSInt64 max_atoms{};
  if (enif_get_int64(env, argv[2], &max_atoms) == 0 || max_atoms < 0) throw BadArg();
  set_max_atoms(max_atoms);
  const std::string failure = start_python(config);
  return failure.empty() ? atoms().ok : make_error(env, make_text(env, failure));
}

ERL_NIF_TERM runtime_version(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  return make_text(env, python::runtime_version());
}

ERL_NIF_TERM set_stopped(ErlNifEnv* /*env*/, const ERL_NIF_TERM* argv) {
  if (argv[0] != atoms().true_ && argv[0] != atoms().false_) throw BadArg();
  python::set_stopped(argv[0] == atoms().true_);
  return atoms().ok;
}

ERL_NIF_TERM runtime_features(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  const python::RuntimeFeatures features = python::runtime_features();
  const auto boolean = [](bool value) { return value ? atoms().true_ : atoms().false_; };
  ERL_NIF_TERM names[] = {atoms().version, atoms().free_threaded, atoms().owngil};
  ERL_NIF_TERM values[] = {make_text(env, features.version), boolean(features.is_free_threaded),
                           boolean(features.no_own_gil.empty())};
  ERL_NIF_TERM map{};
  (void)enif_make_map_from_arrays(env, names, values, std::size(names), &map);
  return map;
}

ERL_NIF_TERM context_new(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  using Mode = python::Context::Mode;
  const bool is_own = argv[1] == atoms().owngil;
  if (enif_is_ref(env, argv[0]) == 0 || (!is_own && argv[1] != atoms().worker)) throw BadArg();
  if (const std::string reason = python::runtime_features().no_own_gil; is_own && !reason.empty()) {
    return make_error(env, enif_make_tuple2(env, atoms().unsupported, make_text(env, reason)));
  }
  ErlNifPid owner{};
  (void)enif_self(env, &owner);
  const Ref<ExitNotice> notice = Ref<ExitNotice>::steal(new ExitNotice(owner, argv[0]));
  std::string failure;
  Ref<python::Context> context = python::Context::start(
      owner.pid, [notice] { notice->send(); }, is_own ? Mode::own_gil : Mode::worker, &failure);
  if (!context) {
    return make_error(env, failure.empty()
                               ? atoms().enomem
                               : enif_make_tuple2(env, atoms().python, make_text(env, failure)));
  }
  const auto resource = Resource<ContextResource>::make(Ref<Context>::steal(context.take()), owner);
  if (!resource->watch(owner)) resource->context().stop();
  return make_ok(env, resource.term(env));
}

ERL_NIF_TERM process_new(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  if (enif_is_ref(env, argv[0]) == 0) throw BadArg();
  WorkerCommand command{
      get_text(env, argv[1]), get_text(env, argv[2]), get_text(env, argv[3]), {}, 0};
  if (command.python.empty()) command.python = PENSTOCK_PYTHON;
  ERL_NIF_TERM settings = argv[4];
  ERL_NIF_TERM head{};
  while (enif_get_list_cell(env, settings, &head, &settings) != 0) {
    command.env.push_back(get_text(env, head));
  }
  ErlNifUInt64 memory_limit{};
  if (enif_get_uint64(env, argv[5], &memory_limit) == 0) throw BadArg();
  command.memory_limit = memory_limit;
  ErlNifPid owner{};
  (void)enif_self(env, &owner);
  const Ref<ExitNotice> notice = Ref<ExitNotice>::steal(new ExitNotice(owner, argv[0]));
  std::string failure;
  Ref<ProcessContext> context = ProcessContext::start(
      command, owner.pid, [notice](const Message& reason) { notice->send(reason); }, &failure);
  if (!context) {
    return make_error(env, enif_make_tuple2(env, atoms().python, make_text(env, failure)));
  }
  const ERL_NIF_TERM pid = enif_make_int64(env, context->pid());
  // Its thread keeps it alive: were there no memory for the resource, it would run on.
  struct Stop {
    ProcessContext* context;
    ~Stop() {
      if (context != nullptr) context->stop();
    }
  } stop{context.get()};
  const auto resource = Resource<ContextResource>::make(Ref<Context>::borrow(context.get()), owner);
  stop.context = nullptr;
  if (!resource->watch(owner)) resource->context().stop();
  return enif_make_tuple3(env, atoms().ok, resource.term(env), pid);
}

ERL_NIF_TERM context_submit(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ContextResource& context = get_context(env, argv[0]);
  int parts{};
  const ERL_NIF_TERM* traced{};
  const bool wants_traceback = enif_get_tuple(env, argv[1], &parts, &traced) != 0 && parts == 2 &&
                               traced[0] == atoms().traceback;
  const std::optional<Kind> what = kind(wants_traceback ? traced[1] : argv[1]);
  int count{};
  const ERL_NIF_TERM* arguments{};
  if (!what || enif_get_tuple(env, argv[2], &count, &arguments) == 0 ||
      enif_is_ref(env, argv[3]) == 0 || enif_is_list(env, argv[4]) == 0) {
    throw BadArg();
  }
  const Ref<NifCall> call = NifCall::create(
      env, argv[3], Resource<ContextResource>::borrow(&context), wants_traceback, what->answer);
  Resource<CallResource> resource;  // Nobody can cancel a task.
  if (what->answer == AnswerAs::answer) resource = Resource<CallResource>::make(call);

  Message request;
  wire::Writer writer(request);
  Encoder encoder(env, request);
  Encoder::Outcome outcome = Encoder::Outcome::out_of_memory;
  bool is_nested = false;
  if (writer.tuple(static_cast<std::uint32_t>(count) + 3) &&
      writer.integer(static_cast<std::int64_t>(what->operation)) &&
      writer.handle(wire::HandleKind::call, Ref<Object>::borrow(call.get())) &&
      write_path(env, writer, argv[4], context, &is_nested)) {
    outcome = encoder.elements(arguments, static_cast<std::uint32_t>(count));
  }
  Status status = Status::out_of_memory;
  const bool is_long_copy = context.context().is_remote() && request.pinned() > kCopiedAtOnce;
  if (outcome == Encoder::Outcome::ok && is_long_copy && on_normal_scheduler()) {
    outcome = Encoder::Outcome::too_much_work;
  } else if (outcome == Encoder::Outcome::ok) {
    status =
        is_nested ? context.context().submit_nested(request) : context.context().submit(request);
  }
  if (status == Status::ok) {
    if (what->answer != AnswerAs::answer) return atoms().ok;
    if (!context.context().is_remote()) return make_ok(env, resource.term(env));
    return enif_make_tuple2(env, atoms().remote, resource.term(env));
  }

  // The caller learns it from us, not by a message; unless the context died meanwhile, and has told
  // him so.
  if (!call->cancel()) {
    return what->answer == AnswerAs::answer ? make_ok(env, resource.term(env)) : atoms().ok;
  }
  if (outcome == Encoder::Outcome::too_much_work) {
    return continue_dirty<context_submit, 5>(env, "context_submit", argv);
  }
  if (outcome == Encoder::Outcome::unsupported) return make_error(env, encoder.reason());
  if (status == Status::not_shared) return make_error(env, atoms().not_shared);
  if (status != Status::closed) return make_error(env, atoms().enomem);
  return make_error(env, enif_make_tuple2(env, atoms().context_died, atoms().stopped));
}

ERL_NIF_TERM call_cancel(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return get_call(env, argv[0])->cancel() ? atoms().cancelled : atoms().answered;
}

ERL_NIF_TERM call_look_out(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ERL_NIF_TERM result{};
  const bool is_something = get_call(env, argv[0])->look_out(env, get_look(env, argv[1]), &result);
  if (result != ERL_NIF_TERM{}) return result;
  return is_something ? atoms().others : atoms().empty;
}

ERL_NIF_TERM call_answer(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const Ref<NifCall>& call = get_call(env, argv[0]);
  int arity{};
  const ERL_NIF_TERM* result{};
  if (enif_get_tuple(env, argv[1], &arity, &result) == 0 || arity != 2) throw BadArg();
  call->finish_with(argv[1]);
  return atoms().ok;
}

ERL_NIF_TERM context_interrupt(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  get_context(env, argv[0]).context().interrupt();
  return atoms().ok;
}

ERL_NIF_TERM context_interrupt_call(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  get_context(env, argv[0]).context().interrupt(Ref<Call>::borrow(get_call(env, argv[1]).get()));
  return atoms().ok;
}

ERL_NIF_TERM context_look_out(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  Context& context = get_context(env, argv[0]).context();
  std::int64_t const for_ns = get_look(env, argv[1]);
  if (context.is_remote()) (void)context.look_out(for_ns);
  return context.is_remote() ? atoms().remote : atoms().ok;
}

ERL_NIF_TERM context_finish(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  get_context(env, argv[0]).context().finish();
  return atoms().ok;
}

ERL_NIF_TERM context_stop(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  get_context(env, argv[0]).context().stop();
  return atoms().ok;
}

ERL_NIF_TERM context_kill(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  get_context(env, argv[0]).context().kill();
  return atoms().ok;
}

}  // namespace penstock::nif
